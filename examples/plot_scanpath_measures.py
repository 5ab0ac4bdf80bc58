"""
Scanpaths of models beside people
=================================

How alike are two scanpaths? A number alone does not tell: it has to stand between what
people reach with each other and what comes for nothing.

All observers here are **simulated**, so that the truth is known. Each picture has six
places of interest. People visit them, mostly in the same order, with errors of their
own. One model knows the places but not the order, one knows only that people look
towards the centre, and one reads every picture like a page of text.
"""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from analysis.fixated_pixels import fixated_pixels
from analysis.fixation_auc import auc
from analysis.fixation_density import fixation_density, leave_one_out_density
from analysis.plots_gaze import plot_density, plot_scanpaths, plot_scores
from analysis.scanpath_measures import MeasureSettings
from analysis.scanpaths import score_scanpaths
from neurovis.core.rng import generator

WIDTH, HEIGHT, N_PLACES = 800, 600, 6

# %%
# Simulated people and models
# ---------------------------
#
# A table of fixations has one row per fixation: who, on which picture, where, how long.
# People and models have the same form.

stimuli = pd.DataFrame({"stimulus_id": [f"simulated {i}" for i in range(12)]})
stimuli = stimuli.assign(width_px=WIDTH, height_px=HEIGHT)
draw = generator(0, "example")
spread = draw.normal((WIDTH / 2, HEIGHT / 2), (170, 120), (12, N_PLACES, 2))
spread = spread.clip((80, 80), (WIDTH - 80, HEIGHT - 80))
places = dict(zip(stimuli["stimulus_id"], spread, strict=True))


def table(subject, scanpath_of):
    """One scanpath on every picture, as rows of fixations."""
    parts = []
    for stimulus, points in places.items():
        xy = scanpath_of(points)
        part = pd.DataFrame(xy, columns=["x_px", "y_px"])
        part["duration_ms"] = draw.gamma(6, 40, len(part))
        parts.append(part.assign(stimulus_id=stimulus, fixation=part.index))
    return pd.concat(parts, ignore_index=True).assign(subject=subject)


def person(points):
    """The places in their order, two neighbours exchanged, one place left out."""
    order = np.arange(N_PLACES)
    i = draw.integers(N_PLACES - 1)
    order[[i, i + 1]] = order[[i + 1, i]]
    order = np.delete(order, draw.integers(N_PLACES))
    return points[order] + draw.normal(0, 35, (len(order), 2))


def any_order(points):
    return draw.permutation(points) + draw.normal(0, 35, points.shape)


def towards_centre(points):
    xy = draw.normal((WIDTH / 2, HEIGHT / 2), (170, 120), points.shape)
    return xy.clip((0, 0), (WIDTH, HEIGHT))


def reader(points):
    """Short steps to the right, line by line, whatever the picture."""
    x, y = np.meshgrid(np.linspace(80, 720, 9), np.linspace(60, 540, 6))
    return np.column_stack([x.ravel(), y.ravel()])


people = pd.concat([table(f"person {i}", person) for i in range(6)])
models = pd.concat(
    [
        table("right places, any order", any_order),
        table("towards the centre", towards_centre),
        table("reader", reader),
    ]
)
print(people.head(3))

# %%
# One picture: two people, and two of the models. Marks are numbered in the order of
# time; their areas grow with the durations.


def on_first(name, tables):
    """Scanpath of one observer on the first picture."""
    one = tables[tables["stimulus_id"] == "simulated 0"]
    return one[one["subject"] == name]


figure, panels = plt.subplots(1, 2, figsize=(9.2, 3.9), layout="constrained")
frame = {"width_px": WIDTH, "height_px": HEIGHT}
pair = {name: on_first(name, people) for name in ("person 0", "person 1")}
plot_scanpaths(None, pair, title="Two people (simulated)", ax=panels[0], **frame)
names = ("right places, any order", "towards the centre")
pair = {name: on_first(name, models) for name in names}
plot_scanpaths(
    None, pair, title="Right places (blue), centre (orange)", ax=panels[1], **frame
)
plt.show()

# %%
# Compare
# -------
#
# Every scanpath of a model is compared with every human one on the same picture. People
# are compared with the *other* people. Chance is a person on another picture, or points
# anywhere.

measures = ["scanmatch", "sequence_score", "multimatch_mean"]
scores = score_scanpaths(
    models,
    people,
    stimuli,
    measures=measures,
    settings=MeasureSettings(grid=(6, 8)),
    n_bootstrap=200,
)
wide = scores.pivot_table(index="model", columns="metric", values="value")
print(wide[measures].round(3))

# %%
# Scores with 95 % intervals over pictures. The broken line is the consistency of
# people.

figure, panels = plt.subplots(1, 2, figsize=(9.2, 3.2), layout="constrained")
titles = {"scanmatch": "ScanMatch", "multimatch_mean": "MultiMatch, mean"}
for axes, (metric, label) in zip(panels, titles.items(), strict=True):
    plot_scores(scores, metric=metric, label=label, ax=axes)
plt.show()

# %%
# Where people look
# -----------------
#
# A density forgets the order. With one group of fixations per person, each person is
# predicted from the density of all others. Dots are the fixations on the first picture:
# what people do in all pictures says little about them.

here = people[people["stimulus_id"] == "simulated 0"]
groups = here.groupby("subject").ngroup()
human = fixated_pixels(here["x_px"], here["y_px"], (HEIGHT, WIDTH), map_index=groups)
others = leave_one_out_density(human, sigma_px=40, uniform=0.01)
print(f"AUC, human from other people: {auc(others, human).mean():.2f}")

everywhere = fixated_pixels(people["x_px"], people["y_px"], (HEIGHT, WIDTH))
pictures = (
    ("People, this picture (simulated)", fixation_density(human.pool(), 40)[0]),
    ("People, all pictures (simulated)", fixation_density(everywhere, 40)[0]),
)
figure, panels = plt.subplots(1, 2, figsize=(9.2, 3.9), layout="constrained")
for axes, (title, density) in zip(panels, pictures, strict=True):
    plot_density(density, x_px=here["x_px"], y_px=here["y_px"], title=title, ax=axes)
plt.show()

# %%
# **What you should see:** by ScanMatch the model with the right places comes closest to
# the broken line of people and the reader is far below chance, while MultiMatch, which
# looks at the shape of saccades more than at places, puts the reader above chance.
