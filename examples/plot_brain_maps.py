"""
Maps of visual cortex
=====================

Where in the brain does a number hold? Whatever has one value per voxel or vertex (the
accuracy of a model, a noise ceiling, a preference) can be put back onto the brain.

The data here are **simulated**, in the files of the Natural Scenes Dataset, and so is
the atlas: one subject, one session of 250 drawings with three trials each.
"""

import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from analysis.plots_brain import plot_ceiling_histogram, plot_region_bars
from analysis.plots_volume import plot_volume_map
from analysis.regions import region_table
from analysis.surface import plot_cortex_map
from analysis.surface_mesh import region_outlines, to_fsaverage5
from analysis.surface_page import write_cortex_html
from data_loaders.nsd import load_nsd
from data_loaders.synthetic import simulate_nsd
from stimuli.category_pictures import make_category_pictures

# %%
# Responses
# ---------
#
# With the real data, `load_nsd` is the only line that is needed here.

pictures = make_category_pictures(250, size_px=64)
folder = Path(tempfile.mkdtemp())
root = simulate_nsd(
    folder / "nsd",
    pictures.images,
    pictures.table,
    n_subjects=1,
    n_sessions=1,
    n_vertices=(10_242, 10_242),
)
responses = load_nsd(root, 1, space="fsaverage")
print("\n".join(responses.describe()))

# %%
# A map on the cortical surface
# -----------------------------
#
# How much more does a vertex respond to faces than to the other categories? Maps come
# as one array per hemisphere; those of fsaverage are moved to the smaller mesh
# fsaverage5 for drawing. Where there is no unit, the cortex stays grey.

category = pictures.table["category"].to_numpy()[responses.stimuli["nsd_id"]]
faces = responses.betas[category == "face"].mean(axis=0)
others = responses.betas[category != "face"].mean(axis=0)
in_vision = responses.in_region("nsdgeneral")
preference = np.where(in_vision, faces - others, np.nan)

maps = to_fsaverage5(responses.to_maps(preference), responses.space)
shown = ["V1", "hV4", "OFA", "FFA", "PPA", "EBA"]
outlines = region_outlines(responses.units, responses.families, responses.space, shown)
figure = plot_cortex_map(
    maps,
    outlines=outlines,
    symmetric=True,
    label="Faces − others (z-score)",
    title="Preference for faces",
    note="simulated data",
    figure=plt.figure(),
)

# %%
# The same map as a page: the brain can be turned, and the pointer tells vertex, value
# and region. The page needs no network.

page = write_cortex_html(
    folder / "faces.html",
    maps,
    regions=outlines,
    symmetric=True,
    label="Faces − others (z-score)",
    title="Preference for faces",
    note="simulated data",
)
print(f"{page.name}: {page.stat().st_size / 1e6:.1f} MB")

# %%
# Regions and ceilings
# --------------------
#
# Regions are summarised by medians and quartiles of their units. How well they could
# be predicted at all follows from the signal-to-noise ratio over repeated trials.

table = region_table(
    {"preference": preference},
    responses.units,
    responses.families,
    regions=["V1", "hV4", "OFA", "FFA", "EBA", "FBA", "OPA", "PPA", "RSC"],
)
figure = plt.figure(figsize=(11, 4.6), layout="constrained")
left, right = figure.subplots(1, 2)
plot_region_bars(
    table,
    measure="preference",
    label="Faces − others (z-score)",
    title="Simulated: preference for faces",
    ax=left,
)
plot_ceiling_histogram(
    responses.units[in_vision],
    responses.families,
    regions=["V1", "hV4", "FFA", "PPA"],
    title="Simulated: noise ceilings",
    ax=right,
)

# %%
# Slices of a volume
# ------------------
#
# Voxels of a subject's own space are not those of any template, so they are drawn as
# they are: coarse ones here.

voxels = load_nsd(root, 1, space="func1pt8mm")
volume = voxels.to_maps(voxels.units["ncsnr"])["volume"]
early = voxels.to_maps(voxels.in_region("streams:early"))["volume"] > 0
faces = voxels.to_maps(voxels.in_region("floc-faces"))["volume"] > 0
figure = plot_volume_map(
    volume,
    voxels.space.affine,
    regions={"early visual cortex": early, "face regions": faces},
    label="ncsnr",
    title="Signal-to-noise ratio",
    note="simulated data",
    figure=plt.figure(),
)
plt.show()

# %%
# **What you should see:** the face regions OFA and FFA prefer faces and are the red
# patches on the lower side of both hemispheres; places, early areas and the body region
# EBA do not. The signal-to-noise ratio is high in visual cortex and noise elsewhere.
