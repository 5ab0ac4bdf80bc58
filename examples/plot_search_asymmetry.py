"""
Search asymmetry in small
=========================

Some targets are found at once among many distractors, others slowly, and the order
can change when target and distractor change roles. A disk that is bright on top is
found quickly among disks that are bright at the bottom; turn all disks by 90 degrees
and the search becomes slow, at least for people.

This example runs the four steps of the suite on one such pair: **Stimuli -> Model ->
Responses -> Score**. The model is eccNET on the *small* network that comes with the
suite, trained on 630 photographs, so that the script takes seconds. Its numbers show
the machinery; the network of the paper has 16 times as many weights.
"""

import matplotlib.pyplot as plt

from analysis.plots import plot_rt_by_set_size, plot_search_display
from analysis.search_scores import search_scores
from data_loaders.search_humans import load_human_rt
from neurovis.adapters import load_model
from stimuli.search_arrays import make_search_arrays
from tasks.search_asymmetry import run_searches

# %%
# Stimuli
# -------
#
# A stimulus set is a table with one row per display, and the pictures that belong to
# it. Displays are drawn when they are asked for. Each trial draws its random numbers
# from a stream of its own, so that the same seed gives the same display whatever else
# is made.

stimuli = make_search_arrays(["top_down", "left_right"], trials=12, seed=0)
columns = ["stimulus_id", "set_size", "target_x_deg", "target_y_deg"]
print(stimuli.table[columns].head())

# %%
# The two displays below have six items each. The target is the odd one out: bright on
# top in the easy condition, bright on the left in the hard one.

words = {"top_down": "bright on top", "left_right": "bright on the left"}
identities = stimuli.table["stimulus_id"].tolist()
shown = [identities.index(f"{condition}_n06_t000") for condition in words]
figure, panels = plt.subplots(1, 2, figsize=(7, 3.8), layout="constrained")
for index, axes in zip(shown, panels, strict=True):
    row = stimuli.table.iloc[index]
    title = f"Target {words[row['condition']]}"
    axes.imshow(stimuli.load(index))
    axes.set(title=title, xticks=[], yticks=[])

# %%
# Model and responses
# -------------------
#
# Every observer gets the same displays under the same rules. It starts in the centre;
# an item that was fixated is erased and not visited again; the search ends when the
# eye lands on the cell of the target. What comes back are trials and fixations, the
# same two tables for every observer.

model = load_model("eccnet")
chance = load_model("chance")
responses = run_searches([model, chance], stimuli)
columns = ["model", "condition", "set_size", "n_fixations", "found", "rt_ms"]
print(responses.table[columns].head(6))
print(model.notes)

# %%
# Score
# -----
#
# Saccades become reaction times (Gupta et al. 2021: 252.359 ms for each, and 376.271
# ms for the rest), and the slope of reaction time against the number of items tells how
# hard a search is. People are one more observer; theirs are published means.

scores = search_scores(responses.table, load_human_rt())
rows = (scores["metric"] == "slope_ms_per_item") & (scores["experiment"] == 2)
columns = ["model", "condition", "value", "ci_low", "ci_high"]
print(scores.loc[rows, columns].round(1))

# %%
# One figure for the whole experiment: where the model looked, and how its reaction
# times grow. Fixation 0 is given; the green box is where a landing counts as found.

figure = plt.figure(figsize=(9.2, 4.1), layout="constrained")
panels = figure.subplots(1, 3, width_ratios=(1, 1, 1.25))
for index, axes in zip(shown, panels[:2], strict=True):
    row = stimuli.table.iloc[index]
    path = responses.scanpaths
    path = path[path["stimulus_id"] == row["stimulus_id"]]
    box = [row[f"area_{edge}_px"] for edge in ("left", "top", "right", "bottom")]
    plot_search_display(
        stimuli.load(index),
        path[path["subject"] == "eccnet"],
        target_box=box,
        px_per_deg=row["px_per_deg"],
        title=f"Small network: {words[row['condition']]}",
        ax=axes,
    )
plot_rt_by_set_size(scores, experiment=2, ax=panels[2])

# %%
# The asymmetry index compares the two slopes: above 0 when the condition that is harder
# for people is harder for the observer too. Few trials make wide intervals; people have
# none, because their published means come without trials.

rows = (scores["metric"] == "asymmetry_index") & (scores["experiment"] == 2)
print(scores.loc[rows, ["model", "value", "ci_low", "ci_high"]].round(2))
plt.show()

# %%
# **What you should see:** people answer within a second and need about 4 ms per item
# in the easy condition against 24 ms in the hard one. The small network finds the disk
# that is bright on top at once, and the one that is bright on the left more slowly the
# more items there are: the asymmetry of people, steeper than theirs. Chance needs
# seconds when there are many items, with the wide intervals of few trials.
