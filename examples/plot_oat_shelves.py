"""
OAT on shelves
==============

Which product do you look at next? OAT reads all objects of a shelf and what is searched
for, and gives each object, and the end of the search, a probability.

Nobody is described here. The shelves are generated and the searcher is **simulated**,
so that the truth is known: its rule gives the exact probability of every fixation, and
no model can foretell it better on average. The network is the small one that ships. It
was trained on other simulated searchers, with random rules, and has seen neither these
shelves nor this searcher.
"""

import matplotlib.pyplot as plt
import numpy as np

from analysis.plot_style import GREY, PALETTE, finish
from analysis.plots_objects import plot_object_scanpaths, plot_object_values
from analysis.policy_statistics import policy_statistics
from neurovis.adapters.oat import load_oat
from neurovis.adapters.object_tokens import TokenBaseline, token_nats
from neurovis.adapters.search_policy import SHELF_SEARCHER, simulate_trials
from neurovis.core.object_scanpaths import ObjectTrial
from stimuli.shelf_displays import make_shelves, shelf_displays

# %%
# Shelves and searches
# --------------------
#
# Twelve shelves of 4 boards with 9 products each. On each of them six observers look
# for one product, all by the same rule, with other draws. A scanpath is a list of
# objects, numbered row by row.

stimuli = make_shelves(12, rows=4, cols=9, targets_per_shelf=1, seed=3)
displays = shelf_displays(stimuli, size_px=(10, 16))
trials = simulate_trials(SHELF_SEARCHER, displays, n_observers=6, seed=3)
print(f"{len(trials)} searches, no human data: {trials[0].cells.tolist()} ...")

# %%
# Let OAT search
# --------------
#
# It knows what the products look like (the mean colours of 5 x 8 fields of each cover)
# and which of these looks is searched for, and not where that product is. Two searches
# of the simulated observers on one shelf, and two of OAT; the target has a green box.
# Being on the target does not end a search for certain: the searcher stops there with
# a probability of 0.4, and OAT about as often.

observer = load_oat(weights="shelf-searcher", device="cpu")
made = [
    ObjectTrial(display, "OAT", path)
    for display, paths in zip(
        displays, observer.sample_displays(displays, n_samples=6, seed=0), strict=True
    )
    for path in paths
]


def easy_to_see(trial):
    return 5 <= len(trial.cells) <= 9 and trial.cells[-1] == trial.display.target_cell


def two_of(searches):
    """Two searches on the shelf that is shown, best those that are easy to see."""
    there = searches[6 * shown : 6 * shown + 6]
    return sorted(there, key=easy_to_see, reverse=True)[:2]


shown = next(i for i, t in enumerate(trials) if easy_to_see(t)) // 6
display, picture = displays[shown], stimuli.load(shown)
figure, panels = plt.subplots(2, 1, figsize=(7.4, 10.6), layout="constrained")
pair = {f"searcher {k + 1}": trial.cells for k, trial in enumerate(two_of(trials))}
plot_object_scanpaths(
    display, pair, picture=picture, title="The searcher (simulated)", ax=panels[0]
)
pair = {f"OAT, sample {k + 1}": trial.cells for k, trial in enumerate(two_of(made))}
plot_object_scanpaths(display, pair, picture=picture, title="OAT", ax=panels[1])
plt.show()

# %%
# What it attends to, what it expects
# -----------------------------------
#
# Along one search of the searcher: the attention of the last layer to the objects, and
# the probability of the next fixation, before the first fixation, in the middle, and
# before the last one. Numbers are the fixations so far. The two differ: attention is
# what one layer reads, and not where the eye will go.

cells = two_of(trials)[0].cells
attention = observer.attention(display, cells)[-1]
given = observer.token_probabilities(display, cells)
steps = (0, len(cells) // 2, len(cells) - 1)
columns = (("attention", attention), ("P(next)", given))
figure, panels = plt.subplots(3, 2, figsize=(9.6, 8.2), layout="constrained")
for line, (label, table) in zip(panels.T, columns, strict=True):
    largest = table[list(steps), :-1].max()
    for axes, step in zip(line, steps, strict=True):
        plot_object_values(
            display,
            table[step, :-1],
            picture=picture,
            path=cells[:step],
            label=label,
            vmax=largest,
            title=f"{label}, after {step} fixations",
            ax=axes,
        )
plt.show()

# %%
# How well does it foretell?
# --------------------------
#
# Nats per token are the mean surprise at each next fixation, and at the end. The
# searcher itself is the floor. Simple models learn from the first half of the shelves
# and are tested, as all others, on the second. What they are told of the target is in
# brackets: compare only equals.

half = len(trials) // 2
training, test = trials[:half], trials[half:]
told = load_oat(weights="shelf-searcher-told", device="cpu")
nats = {}
for model in (observer, told):
    surprise = -np.concatenate(model.log_likelihood(test))
    nats[f"OAT that ships ({model.knows})"] = surprise.mean()
kinds = ("uniform_tokens", "displacement_tokens", "displacement_jump_tokens")
models = {
    f"{model.name} ({model.knows})": model.fit(training)
    for model in map(TokenBaseline, kinds)
}
models["the searcher itself"] = SHELF_SEARCHER
for name, model in models.items():
    nats[name] = np.concatenate([token_nats(model, trial) for trial in test]).mean()
ordered = dict(sorted(nats.items(), key=lambda item: -item[1]))
for name, value in ordered.items():
    print(f"{name:<42}{value:.3f} nats per token")

figure, axes = plt.subplots(figsize=(7.2, 2.9), layout="constrained")
for name, value in ordered.items():
    colour = PALETTE[0] if name.startswith("OAT") else GREY
    axes.plot(value, name, "o", ms=8, color=colour)
axes.axvline(nats["the searcher itself"], color="black", lw=1, ls="--")
axes.set_xlabel("Nats per token (less is better)")
axes.margins(y=0.12)
finish(axes, grid="both")
plt.show()

# %%
# How does it move and stop?
# --------------------------
#
# One line per statistic: the searcher, and OAT that was not told where the target is.

table = policy_statistics(trials)[["statistic", "value"]]
table["OAT"] = policy_statistics(made)["value"]
print(table.rename(columns={"value": "searcher"}).round(3).to_string(index=False))

# %%
# **What you should see:** OAT, which has never met this searcher, is surprised less
# than the simple models that were fitted to it, and not as little as the searcher
# itself. To be told where the target is makes no difference: all products look
# different here, and OAT sees all of them at once, so that the look gives the place
# away. It looks at the target more often the nearer the eye is to it.
