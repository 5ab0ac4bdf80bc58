"""
Which layer does a region follow?
=================================

Features of pictures predict responses of voxels, layer by layer. Here the answer is
known: the brain is **simulated**, and each of four regions was made of one layer of a
network. The network is **untrained**; what is shown is that the method finds what is
there, nothing about brains.
"""

import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from analysis.crossed_bootstrap import bootstrap_crossed
from analysis.metrics import noise_normalised, pearson_r
from data_loaders.nsd import load_nsd, split_nsd
from data_loaders.synthetic import n_pictures, simulate_nsd
from neurovis.adapters.backbones import load_backbone
from neurovis.adapters.features import extract_features
from neurovis.core.noise_ceiling import explainable_fraction
from neurovis.core.rng import generator
from neurovis.fitting.ridge import RidgeCV
from stimuli.category_pictures import make_category_pictures

# %%
# Features of pictures
# --------------------
#
# One pass gives all layers. ``gap`` is the mean over positions: pooling is always asked
# for by name.

pictures = make_category_pictures(n_pictures(1, 2), size_px=64, seed=5)
network = load_backbone("darknet_tiny", "seeded:0", size_px=96, resize="squash")
layers = ["conv2:gap", "conv6:gap", "conv10:gap", "conv14:gap"]
features = extract_features(network, pictures.images, layers)
print({layer: values.shape for layer, values in features.items()})

# %%
# A brain made of them
# --------------------
#
# Each unit of a region weighs the features of its layer by numbers of its own.

truth = dict(zip(["V1", "V2", "V3", "hV4"], layers, strict=True))
root = simulate_nsd(
    Path(tempfile.mkdtemp()) / "nsd",
    pictures.images,
    pictures.table,
    n_subjects=1,
    n_sessions=2,
    n_shared=150,
    spaces=("fsaverage",),
    picture_px=64,
    seed=5,
    region_features={region: features[layer] for region, layer in truth.items()},
)
brain = load_nsd(root, 1, space="fsaverage", regions="prf-visualrois")
rows = split_nsd(brain, "shared")
print("Simulated data:", *brain.describe()[:3], sep="\n  ")

# %%
# One ridge regression per unit
# -----------------------------
#
# Penalties are chosen within the training pictures, one for each unit; the pictures
# that are scored were never seen.

seen = brain.stimuli["nsd_id"].to_numpy()
train, test = rows["train"], rows["test"]
predictions, choice = {}, {}
for layer in layers:
    x = features[layer][seen]
    model = RidgeCV(np.logspace(0, 6, 13), search="window", standardize=1e-3)
    model.fit(x[train], brain.betas[train])
    predictions[layer] = model.predict(x[test])
    choice[layer] = model.cv_scores_
ceiling = explainable_fraction(brain.units["ncsnr"], brain.stimuli["n_repeats"][test])
for region, layer in truth.items():
    inside = brain.in_region(f"prf-visualrois:{region}")
    best = max(layers, key=lambda name: choice[name][inside].mean())
    print(f"{region}: made of {layer}, found {best}")

# %%
# Scores beside ceilings
# ----------------------
#
# Bars are the share of the explainable variance, the intervals come from resampling the
# test pictures. The best layer of each region was chosen within training; neighbouring
# layers are similar, so that others do not score 0.

figure, axes = plt.subplots(1, 4, figsize=(11, 3.2), sharey=True, layout="constrained")
measured = brain.betas[test]
for ax, (region, made_of) in zip(axes, truth.items(), strict=True):
    inside = brain.in_region(f"prf-visualrois:{region}")
    y = measured[:, inside]

    def share(images, y=y, inside=inside):
        """Noise-normalised scores of a region, one per layer."""
        scores = [
            noise_normalised(
                pearson_r(y[images], predictions[layer][images][:, inside]),
                ceiling[inside],
            )
            for layer in layers
        ]
        return np.nanmedian(scores, axis=1)[None]  # undefined: a ceiling of 0

    draws = generator(0, "plot_encoding_models", region)
    found = bootstrap_crossed(
        share, len(test), 1, over="images", n_bootstrap=100, rng=draws
    )
    low, high = found.interval()
    middle = found.estimate
    colours = ["C1" if layer == made_of else "C0" for layer in layers]
    ax.bar(range(4), middle, color=colours)
    ax.errorbar(
        range(4), middle, [middle - low, high - middle], fmt="none", ecolor="black"
    )
    ax.axhline(1, color="grey", linestyle="--")
    ax.set_xticks(range(4), [layer.split(":")[0] for layer in layers], rotation=45)
    ax.set_title(f"{region} ({int(inside.sum())} vertices)")
axes[0].set_ylabel("Share of explainable variance")
figure.suptitle("Simulated brain, untrained network; orange: the layer a region is of")
plt.show()

# %%
# **What you should see:** the orange bar is the highest of each region, near 1: the
# true layer explains what noise leaves to be explained. The other layers of the network
# come close, although nothing of them is in the brain: a good score does not show that
# a brain computes what the network computes.
