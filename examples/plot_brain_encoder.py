"""
Where does a region look?
=========================

A linear model weighs every place of a picture in the same way, whatever is there. A
transformer brain encoder has a query for each region, which attends to the picture.
Here the answer is known: the brain is **simulated**, and each of its regions follows
the objects of one category, wherever they are.
"""

import matplotlib.pyplot as plt
import numpy as np

from analysis.attention_boxes import box_guidance
from analysis.metrics import pearson_r
from analysis.plots_attention import plot_attention_map, plot_box_guidance
from data_loaders.simulated_routing import simulate_routing
from neurovis.adapters.brain_encoder import BrainEncoder, BrainEncoderConfig
from neurovis.adapters.unit_queries import make_queries
from neurovis.core.rng import generator
from neurovis.fitting.network_fit import fit_network, predict_network
from neurovis.fitting.ridge import RidgeCV
from neurovis.fitting.settings import TrainSettings

# %%
# A brain that follows objects
# ----------------------------
#
# The maps stand for those of a network: in the box of an object is a code of its
# category and of which one it is. A region reads the second, where the first says that
# it is its own.

brain = simulate_routing(900, n_categories=3, units_per_region=10, seed=1)
responses = brain.responses
train, test = np.arange(700), np.arange(700, 900)
measured = responses.betas
print("Simulated data:", *responses.describe()[:3], sep="\n  ")

# %%
# Two encoders of the same maps
# -----------------------------
#
# Ridge has a weight for each channel at each place. The transformer has one query per
# region and hemisphere, and tokens of 64: the code of a place needs room beside the
# channels. A tenth of the training scenes decides when to stop.

flat = brain.maps.reshape(len(brain.maps), -1)
ridge = RidgeCV(np.logspace(1, 6, 11), standardize=1e-3)
ridge.fit(flat[train], measured[train])

queries = make_queries("regions", responses.units, responses.families)
config = BrainEncoderConfig(width=64, n_heads=4, feedforward=128)
encoder = BrainEncoder(brain.maps.shape[1:], queries, config)
fit = fit_network(
    encoder,
    brain.maps[train],
    measured[train],
    settings=TrainSettings(
        max_epochs=25,
        optimiser="adamw",
        learning_rate=2e-3,
        monitor="r",
        more_is_better=True,
    ),
)
predicted = {
    "ridge": ridge.predict(flat[test]),
    "transformer": predict_network(fit.module, brain.maps[test]),
}

# %%
# What is predicted
# -----------------

found = {name: pearson_r(measured[test], p) for name, p in predicted.items()}
for name, r in found.items():
    print(f"{name}: mean r {r.mean():.2f} over {len(r)} units")
limit = np.sqrt(0.72)
fig, ax = plt.subplots(figsize=(5, 3.2), layout="constrained")
spread = generator(0, "spread").uniform(-0.15, 0.15, len(found["ridge"]))
for place, (_, r) in enumerate(found.items()):
    ax.plot(place + spread, r, "o", alpha=0.5, color=f"C{place}")
    ax.plot([place - 0.25, place + 0.25], [r.mean()] * 2, color="black")
ax.axhline(limit, linestyle="--", color="grey", label="noise ceiling")
ax.set_xticks(range(len(found)), [*found])
ax.set_ylabel("r of held-out scenes, unit by unit")
ax.set_title("Simulated: units that follow objects")
ax.legend(frameon=False)

# %%
# Where its queries look
# ----------------------
#
# Four scenes that have a disc, and the attention of its region: the blue box is the
# disc, in no place the same.

with_disc = test[~np.isnan(brain.boxes[test, 0, 0])]
attention = fit.module.attention(
    encoder.readout.weight.new_tensor(brain.maps[with_disc])
)[-1].numpy()
fig, axes = plt.subplots(1, 4, figsize=(11, 3.4), layout="constrained")
for number, ax in enumerate(axes):
    scene = with_disc[number]
    plot_attention_map(
        attention[number, 0],
        brain.scenes.pictures[scene],
        boxes=brain.boxes[scene, [0]],
        title=f"scene {scene}",
        bar=number == 3,
        ax=ax,
    )
fig.suptitle(f"Simulated: attention of the query “{queries.names[0]}”")

# %%
# Not one picture, but all
# ------------------------
#
# The share of attention on the object, beside the share of its area (what even
# attention would give) and what maps of other scenes would have there.

table = box_guidance(
    attention,
    brain.boxes[with_disc, 0],
    brain.scenes.pictures[0].shape[:2],
    names=queries.names,
    n_permutations=500,
    rng=generator(0, "guidance"),
)
print(table.round(3).to_string(index=False))
fig, ax = plt.subplots(figsize=(6, 3.4), layout="constrained")
plot_box_guidance(table, title="Simulated: attention on discs", ax=ax)
plt.show()

# %%
# **What you should see.** Ridge explains little, the transformer nearly all that noise
# leaves. The queries of the disc's region put most of their attention on the disc;
# those of the other regions do not look for it. With receptive fields that stay in
# place, ``simulate_routing(kind="fixed")``, factorised readouts do as well, with less
# to learn.
