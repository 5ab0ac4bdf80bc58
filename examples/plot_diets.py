"""
What a network grew up with
===========================

The network that comes with the suite learnt from photographs without labels. This page
shows what training did to its units, beside the same network before training, and the
diets on which others can be grown. The pictures here are drawings (**simulated data**),
so that the page needs no photographs.
"""

import matplotlib.pyplot as plt
import numpy as np

from analysis.plots_tuning import plot_tuning
from analysis.tuning import grating_tuning, tuning_summary
from neurovis.adapters.backbones import load_backbone
from neurovis.adapters.features import extract_features
from stimuli.category_pictures import make_category_pictures
from stimuli.diets import DIETS, feed
from stimuli.gratings import FREQUENCIES_CPD, ORIENTATIONS_DEG, make_gratings

# %%
# Diets
# -----
#
# Every diet does one thing to all pictures: it turns them, bends them as a fisheye lens
# does, draws lines over them, or keeps their spectrum and scrambles the rest.

drawn = make_category_pictures(6, size_px=128, seed=4)
picture = drawn.load(0)
figure, panels = plt.subplots(1, 6, figsize=(11, 2.3), layout="constrained")
for axes, diet in zip(panels, DIETS, strict=True):
    axes.imshow(feed(picture, diet, key="example", seed=0))
    axes.set(title=diet, xticks=[], yticks=[])

# %%
# Trained beside untrained
# ------------------------
#
# Gratings of all orientations, spatial frequencies and phases, as an electrode would
# see them: the unit at the centre of each map of the third stage.

gratings = make_gratings(size_px=96, n_phases=8)
shape = (len(ORIENTATIONS_DEG), len(FREQUENCIES_CPD), 8)
tables = {}
for label, weights in (("trained", "shipped"), ("untrained", "seeded:0")):
    network = load_backbone("compact_vgg", weights, size_px=96)
    maps = extract_features(network, gratings.images, ["stage3:flat"])["stage3:flat"]
    side = 96 // 4
    centre = maps.reshape(*shape, -1, side, side)[..., side // 2, side // 2]
    responses = np.moveaxis(centre, -1, 0).astype(float)
    tables[label] = grating_tuning(responses, ORIENTATIONS_DEG, FREQUENCIES_CPD)
    print(label, network.notes)
    print(tuning_summary(tables[label]).round(2).to_string(index=False))
print("Two networks and gratings: no human data stand beside these numbers.")

# %%
# A circular variance of 1 is no tuning to orientation, 0 the sharpest.

figure, panels = plt.subplots(1, 2, figsize=(8, 3.4), layout="constrained")
named = {"trained": tables["trained"], "trained (untrained)": tables["untrained"]}
plot_tuning(named, measure="circular_variance", ax=panels[0])
plot_tuning(named, measure="bandwidth_octaves", ax=panels[1])
plt.show()

# %%
# **What you should see:** units of the trained network have lower circular variances:
# they prefer one orientation, as cells of visual cortex do. Untrained units have some
# tuning too, which is why every claim about a trained network needs them beside it.
