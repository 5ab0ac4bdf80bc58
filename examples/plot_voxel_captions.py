"""
What a voxel means, in words
============================

An encoder of embeddings gives each voxel a direction among them. That direction is no
embedding of any picture: a captioner that reads it as one may say anything. BrainSCUBA
(Luo et al., 2024) moves it to where pictures are, first. Here the voxels are
**simulated**, so that what they prefer is known. Needs
``pip install "neurovis[generate]"``.
"""

import textwrap

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch

from analysis.concept_naming import concept_rate
from analysis.plots_braindive import plot_contact_sheet
from analysis.plots_captions import plot_inverse_temperatures
from analysis.stats import wilson_interval
from data_loaders.simulated_selectivity import FAMILY, simulate_selective_units
from neurovis.adapters.brainscuba import NEAREST, RAW, SCALED, VoxelCaptioner
from neurovis.adapters.captioner import load_captioner
from neurovis.adapters.sketch_clip import load_sketch_clip
from neurovis.core.embedding_bank import bank_of
from neurovis.fitting.ridge import RidgeCV
from tasks.braindive_observers import to_pixels
from tasks.sketch_captions import CONCEPT_WORDS
from tasks.sketch_training import draw_sketches

# %%
# A bank of pictures
# ------------------
#
# Drawings, and what a small CLIP makes of them. Embeddings stay as long as they are:
# the length tells something, too, and the captioner was trained with it. No drawing of
# the bank was shown to the simulated brain.

clip = load_sketch_clip()


def draw_and_embed(n, seed):
    drawings, table = draw_sketches(n, seed=seed)
    with torch.no_grad():
        return drawings, table, clip.embed_images(drawings / 255).numpy()


bank_drawings, _, bank_rows = draw_and_embed(1000, seed=51)
bank = bank_of(bank_rows, name="drawings")
lengths = np.linalg.norm(bank_rows, axis=1)
print(f"{bank.n_images} drawings, lengths {lengths.mean():.1f} ± {lengths.std():.1f}")

# %%
# Voxels, and their weights
# -------------------------
#
# Twelve voxels for each of five categories, with little noise and with much. The
# encoder is a ridge regression on embeddings of length 1, with the same weak penalty
# for all voxels, so that weights of noisy voxels are noisy.

shown, table, embeddings = draw_and_embed(600, seed=52)
directions = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
weights = {}
for noise in (1.0, 4.0):
    brain = simulate_selective_units(
        to_pixels(shown),
        table["category"].tolist(),
        regions=tuple(CONCEPT_WORDS),
        n_units=12,
        n_repeats=1,
        noise_sd=noise,
        seed=5,
    )
    encoder = RidgeCV([1.0], device="cpu").fit(directions, brain.betas)
    weights[noise] = np.ascontiguousarray(encoder.coef_.T)
truth = brain.units[FAMILY].tolist()
print("Simulated data:", *brain.describe()[:3], sep="\n  ")

# %%
# From weights to captions
# ------------------------
#
# The weights are projected onto the bank: a mean of its embeddings that counts the more
# the nearer a drawing is to the weights, and the larger the inverse temperature, the
# fewer drawings count. Other things can be captioned as well: the weights as they are,
# or made as long as embeddings, and the one drawing that is nearest.

scuba = VoxelCaptioner(bank, load_captioner("sketch"))
temperatures = (1.0, 10.0, 50.0, 150.0, 1000.0)
rates, numbers, baselines, said = [], [], [], {}


def rate_of(captions):
    rate = concept_rate(captions, truth, CONCEPT_WORDS)
    low, high = wilson_interval(rate * len(truth), len(truth))
    return {"value": rate, "ci_low": float(low), "ci_high": float(high)}


for noise, own in weights.items():
    for beta in temperatures:
        told = scuba.caption(own, inverse_temperature=beta)
        said[noise, beta] = told
        where = {"noise_sd": noise, "inverse_temperature": beta}
        rates.append(where | rate_of(told["caption"]))
        low, middle, high = np.quantile(told["effective_number"], [0.25, 0.5, 0.75])
        numbers.append(where | {"value": middle, "ci_low": low, "ci_high": high})
    for kind in (RAW, SCALED, NEAREST):
        told = scuba.captioner.caption(scuba.stand_ins(kind, own))
        said[noise, kind] = told
        where = {"noise_sd": noise, "condition": kind}
        baselines.append(where | rate_of(told["caption"]))

fig, axes = plt.subplots(1, 2, figsize=(10.5, 5), layout="constrained")
plot_inverse_temperatures(
    pd.DataFrame(rates),
    label="Captions that name the concept (share)",
    baselines=pd.DataFrame(baselines),
    chance=1 / len(CONCEPT_WORDS),
    title="Simulated voxels: concepts that are named",
    ax=axes[0],
)
plot_inverse_temperatures(
    pd.DataFrame(numbers),
    label="Effective number of pictures (quartiles)",
    bounds={"the nearest picture": 1, "all of the bank": bank.n_images},
    logarithmic=True,
    title="Simulated voxels: pictures that count",
    ax=axes[1],
)
print(pd.DataFrame(baselines).round(2).to_string(index=False))
plt.show()

# %%
# One voxel of each category
# --------------------------
#
# Above, the drawing of the bank that is nearest to the noisy weights of the first voxel
# of each category; below it the caption of the projection, and that of the weights as
# they are.

first = [truth.index(name) for name in CONCEPT_WORDS]
found = said[4.0, 150.0].iloc[first]
raw = said[4.0, RAW]["caption"].iloc[first]
texts = [
    f"prefers {name}\n\nprojection:\n{textwrap.fill(own, 28)}\n\n"
    f"raw weights:\n{textwrap.fill(other, 28)}"
    for name, own, other in zip(CONCEPT_WORDS, found["caption"], raw, strict=True)
]
fig, ax = plt.subplots(figsize=(10, 3.9), layout="constrained")
plot_contact_sheet(
    [to_pixels(bank_drawings[found["nearest"].tolist()])],
    rows=["nearest\ndrawing"],
    texts=[texts],
    title="Simulated voxels, much noise",
    ax=ax,
)
plt.show()

# %%
# **What you should see.** With little noise almost anything names the concept. With
# much, the weights as they are mislead the captioner for every second voxel; their
# projection names what three in four prefer, over a wide range of temperatures. At 1
# all drawings count, and each voxel gets the caption of the mean drawing: chance. At
# 1000 a single one counts, the nearest. Here that does as well: the gain over raw
# weights comes from staying among pictures, not from the mean of many. Twelve voxels
# per category are few; ``neurovis run brainscuba`` has three brains, controls and
# limits, and :doc:`/how_to/caption_voxels` tells how to caption voxels of your own.
