"""
Contact sheets of the stimulus families
=======================================

Every family is a function of numbers in degrees of visual angle, drawn without jagged
edges at any number of pixels per degree, and the same to the last bit for the same
seed. ``neurovis stimuli list`` names the families, ``list FAMILY`` their options,
``make`` writes a set and ``show`` a sheet like these.

Nothing here was shown to people: these are displays, not results.
"""

import matplotlib.pyplot as plt

from stimuli.contact_sheet import contact_sheet
from stimuli.families import FAMILIES, make_family

plt.rc("figure", max_open_warning=0)
shown = set()


def show(name, captions=(), n_pictures=12, **options):
    """Draw a contact sheet of a family with some of its options."""
    made = make_family(name, options)
    sheet = contact_sheet(
        made, n_pictures=n_pictures, columns=6, cell_px=150, captions=captions
    )
    height, width = sheet.shape[:2]
    figure = plt.figure(figsize=(width / 100, height / 100), dpi=100)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.imshow(sheet)
    axes.set_axis_off()
    shown.add(name)


# %%
# Illusory contours
# -----------------
#
# Kanizsa figures with growing support ratio (the part of the contour that the inducers
# draw), with the inducers turned outwards, and with a luminance outline. *Fat* and
# *thin* figures are made by turning the inducers.

show("kanizsa", ["support_ratio", "kind"])

# %%

show("kanizsa", ["tilt_deg"], kinds=["illusory"], tilts_deg=[-8.0, -4.0, 4.0, 8.0])

# %%
# Illusory edges where gratings abut, and Ehrenstein figures.

show("line-contours")

# %%
# Block figures
# -------------
#
# Chains of ten cubes after Shepard and Metzler, rendered with hidden surfaces removed.
# Only figures that differ from their mirror image are used.

show("block-figures")

# %%

show("rotation-pairs", ["angle_deg", "rotation"])

# %%
# Textures
# --------

show("textures", n_pictures=6)

# %%
# Crowding and uncrowding
# -----------------------

show("crowding", ["spacing_deg", "arrangement"])

# %%

show("vernier", ["condition"])

# %%
# Navon figures
# -------------

show("navon")

# %%
# Shape against texture
# ---------------------
#
# Silhouettes and textures are drawn by rule, so that anyone may copy them; masks and
# textures of your own take their place.

show("cue-conflict")

# %%

show("cue-conflict", kind="silhouette", n_pictures=6)

# %%
# Search
# ------

show("items", ["task", "set_size"])

# %%
# Motion
# ------
#
# Single frames; a movie is the rows of one ``movie``.

show("motion", ["coherence", "frame"], n_pictures=6)

# %%
# Grouping, contours, figure and ground
# -------------------------------------

show("contours", n_pictures=4)

# %%

show("lattices", ["aspect"])

# %%

show("brackets", n_pictures=6)

# %%

show("convexity", n_pictures=6)

# %%

show("lower-region", n_pictures=4)

# %%

show("border-ownership", n_pictures=6)

# %%
# Manipulated pictures
# --------------------
#
# Twelve manipulations with the published conditions, here of pictures drawn by rule.

for manipulation in ("contrast", "high-pass", "phase-scrambling", "false-colour"):
    show("manipulated", ["condition"], n_pictures=6, manipulation=manipulation)

# %%

show("eidolons", ["condition"], n_pictures=6)

# %%

show("shuffled", ["kind", "strength"], n_pictures=6)

# %%
# What you should see
# -------------------
#
# In the first sheet a square stands out between the discs where their notches face
# inwards, clearer the larger the discs; no pixel of its sides differs from the ground
# between them. In the sheet of textures the crosses among L are found at once, the Ts
# among L are not.

print(f"{len(shown)} of {len(FAMILIES)} families; no human data here")
