"""
Pictures that drive a region
============================

An encoder foretells the responses of a region to a picture; its gradient tells how the
picture must change for more of it. Followed alone, that ends in noise which fools the
encoder. Followed while a diffusion model draws, it ends in pictures (BrainDiVE, Luo et
al., 2023). Everything is small, and the brains are **simulated**: each region prefers
one category, so the truth is known. Needs ``pip install "neurovis[generate]"``.
"""

import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd

from analysis.plots_braindive import plot_contact_sheet
from neurovis.adapters.braindive import BrainGuidance, contrast_weights
from neurovis.adapters.image_generators import load_image_generator
from neurovis.generation.pixel_ascent import ascend_pixels
from neurovis.generation.sampling import SamplingSettings, sample_images
from tasks.braindive_observers import look_at, make_observers, region_columns

# %%
# Who looks
# ---------
#
# Three small networks, each with drawings and a seed of its own. On the first stands an
# encoder of the first brain: the guide. On the second an encoder of the second brain,
# and the third, the judge, only names categories. Neither of them guides.

with tempfile.TemporaryDirectory() as folder:
    seen = make_observers(Path(folder), n_drawn=700, epochs=5, seed=0, device="cpu")
print("Simulated data:", *seen.responses[0].describe()[:3], sep="\n  ")

# %%
# The same noise, drawn three ways
# --------------------------------
#
# A generator of drawings that comes with the suite starts from the noise of eight
# seeds: unguided, and guided towards the region that prefers faces. Pixel ascent
# follows the same gradient without a generator.

REGION, SEEDS = "face", range(8)
drawing = load_image_generator("sketch:latent")
mask = region_columns(seen.responses[0])[REGION]
guidance = BrainGuidance(seen.guide, contrast_weights(len(mask), mask), scale=100.0)
settings = SamplingSettings(25, "ddim")
pictures = {
    "unguided": sample_images(drawing, SEEDS, settings=settings).images,
    "guided": sample_images(
        drawing, SEEDS, settings=settings, guidance=guidance
    ).images,
    "pixel ascent": ascend_pixels(guidance.objective, SEEDS, (32, 32)),
}

# %%
# What they make of it
# --------------------

looks = {name: look_at(shown, REGION, seen)[0] for name, shown in pictures.items()}
fig, ax = plt.subplots(figsize=(9, 3.4), layout="constrained")
plot_contact_sheet(
    [list(shown) for shown in pictures.values()],
    rows=list(pictures),
    texts=[list(table["judge_label"]) for table in looks.values()],
    title=f"Simulated: the region that prefers {REGION}s; below, what the judge sees",
    ax=ax,
)
measures = ["guide_activation", "heldout_activation", "judge_accuracy"]
means = pd.DataFrame({name: table[measures].mean() for name, table in looks.items()})
print(means.T.round(2))
plt.show()

# %%
# **What you should see.** Where unguided pictures show this and that, most guided ones
# of the same noise show faces, and the held-out brain and the judge agree. Pixel ascent
# pleases the guide most of all, and nobody else: a large prediction alone is no
# evidence. Eight pictures are few; ``neurovis run braindive`` makes 96 for each region,
# with all controls and intervals.
