"""
What is left in the periphery?
==============================

A blur takes detail away; the visual system keeps more: the statistics of regions that
grow with eccentricity. Here are both, matched so that they lose equally much. The
pictures are drawings (**simulated data**), so that the page needs no photographs.
"""

import matplotlib.pyplot as plt
import numpy as np
from scipy.ndimage import gaussian_filter

from neurovis.adapters.foveated_texture import to_bytes, to_unit
from neurovis.foveation.blur import FoveatedBlur, UniformBlur
from neurovis.foveation.matching import match_blur
from neurovis.foveation.texture import FoveatedTexture
from neurovis.foveation.windows import pooling_windows, ring_weights, window_matrix
from stimuli.category_pictures import make_category_pictures

# %%
# Windows
# -------
#
# Ring by ring and sector by sector; each pixel's weights sum to one. The disc in the
# middle is the fovea, which stays as it is.

size = (256, 256)
windows = pooling_windows(size, 0.4)
weights = window_matrix(windows).toarray().reshape(-1, *size)
largest = weights.max(axis=0)
fig, ax = plt.subplots(figsize=(3.6, 3.6), layout="constrained")
ax.imshow(largest, cmap="gray", vmin=0.2, vmax=1)
ax.set_title(f"{windows.n_windows} windows: where one weighs most")
ax.axis("off")

# %%
# Equal loss
# ----------
#
# One width of each blur is chosen for all pictures, so that the mean similarity (SSIM)
# to the originals is that of the texture.

drawn = make_category_pictures(6, size_px=256, seed=3)
pictures = [drawn.load(index) for index in range(len(drawn))]
images = to_unit(pictures)
texture = FoveatedTexture(size)
uniform = match_blur(
    lambda sigma: UniformBlur(size, sigma), images, texture, low=0, high=8
)
foveated = match_blur(
    FoveatedBlur(size, 0.1).with_factor, images, texture, low=0, high=1
)
print(f"Simulated data. SSIM of the texture: {uniform.target:.3f}")
print(f"uniform blur: {uniform.parameter:.2f} px; foveated: {foveated.parameter:.3f}")
seen = {
    "original": images,
    "uniform blur": UniformBlur(size, uniform.parameter)(images),
    "foveated blur": FoveatedBlur(size, foveated.parameter)(images),
    "texture": texture(images, seed=1),
}
fig, axes = plt.subplots(2, 4, figsize=(11, 5.8), layout="constrained")
for column, (name, shown) in enumerate(seen.items()):
    for row, number in enumerate((2, 5)):
        axes[row, column].imshow(to_bytes(shown[number : number + 1])[0])
        axes[row, column].axis("off")
    axes[0, column].set_title(name)

# %%
# What each keeps
# ---------------
#
# Energy at high frequencies (what a Gaussian of 2 px takes away) in each ring, over
# that of the originals.


def fine_energy(shown):
    """Energy of fine detail per ring."""
    grey = shown.mean(dim=1).numpy()
    detail = grey - gaussian_filter(grey, (0, 2, 2))
    rings = ring_weights(windows)
    return np.einsum("rhw,bhw->r", rings, detail**2)


whole = fine_energy(images)
eccentricity = windows.ring_centres_px / windows.px_per_deg
fig, ax = plt.subplots(figsize=(5.4, 3.4), layout="constrained")
for name, shown in list(seen.items())[1:]:
    kept = fine_energy(shown) / whole
    ax.plot(eccentricity, kept, "o-", label=name)
    print(f"{name}: {kept[-3:].mean():.2f} of the fine detail in the outer rings")
ax.axhline(1, color="grey", linestyle="--", label="original")
ax.set_xlabel("eccentricity, degrees")
ax.set_ylabel("energy of fine detail")
ax.set_title("Simulated data: drawings")
ax.legend(frameon=False)

# %%
# Look somewhere else
# -------------------
#
# The intact disc is where the eye is.

fig, axes = plt.subplots(1, 3, figsize=(9, 3.2), layout="constrained")
for ax, point in zip(axes, ((60, 128), (128, 128), (200, 60)), strict=True):
    looking = FoveatedTexture(size, fixation_px=point)
    ax.imshow(to_bytes(looking(images[2:3], seed=1))[0])
    ax.plot(*point, "+", color="white", markersize=12)
    ax.axis("off")
plt.show()

# %%
# **What you should see.** At one and the same similarity the blurs lose the fine detail
# of the outer rings, and the texture keeps about as much as was there, in other places.
# The fovea of the foveated ones is the original to the bit.
