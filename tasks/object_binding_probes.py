"""What is fitted to the tokens of one layer in an object-binding run."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from analysis.linear_readout import fit_linear_readout
from neurovis.core.rng import generator
from neurovis.fitting.same_object import (
    PROBES,
    ablate_directions,
    form_spectrum,
    pair_loss,
    shuffle_directions,
    truncate_probe,
)
from neurovis.fitting.same_object_fit import (
    PairProbeSettings,
    TokenProbe,
    fit_class_probe,
    fit_identity_probe,
    fit_pair_probe,
)
from tasks.object_binding_data import Patches

FloatArray = NDArray[np.float64]
Arrays = dict[str, NDArray[Any]]

SETTINGS = PairProbeSettings(n_epochs=32, batch_size=8)
"""Of the run: few pictures need small batches and more epochs than the published 8."""

RANKS = (1, 2, 4, 8, 16, 32, 64)
AMOUNTS = (0.0, 0.5, 1.0)

POINTWISE = ("class", "identity")
"""Probes that see one token alone; a pair is the same where their answers are."""

BASELINES = ("majority", "distance", "colour", "colour and distance")

# Pairs that the logistic baselines learn from.
_MOST_PAIRS = 20_000


def pick_tokens(tokens: NDArray[np.float32], patches: Patches) -> FloatArray:
    """Return the tokens of the drawn patches.

    Parameters
    ----------
    tokens : ndarray of float32, shape (n_pictures, rows, columns, n_channels)
        From `tasks.picture_features.read_tokens`.
    patches : Patches
        On the same grid.

    Returns
    -------
    ndarray of float64, shape (n_pictures, n_patches, n_channels)
        In the order of the patches.
    """
    flat = tokens.reshape(len(tokens), -1, tokens.shape[-1])
    picked = np.take_along_axis(flat, patches.places[..., None], axis=1)
    return np.asarray(picked, np.float64)


def probe_layer(
    tokens: FloatArray,
    patches: Patches,
    test: NDArray[np.bool_],
    *,
    n_classes: int,
    ablated_rank: int,
    settings: PairProbeSettings = SETTINGS,
    seed: int = 0,
    device: Any = "cpu",
) -> Arrays:
    """Fit all probes on the training pictures and apply them to the others.

    Parameters
    ----------
    tokens : ndarray of float64, shape (n_pictures, n_patches, n_channels)
        From `pick_tokens`.
    patches : Patches
        What they show.
    test : ndarray of bool, shape (n_pictures,)
        Pictures that no fit sees, and neither does the choice of an epoch.
    n_classes : int
        Classes of patches.
    ablated_rank : int
        Eigenvectors of S that are taken out, at most half of the channels.
    settings : PairProbeSettings, optional
        How to fit.
    seed : int, default 0
        Seed of all fits.
    device : str or torch.device, default "cpu"
        Where to fit.

    Returns
    -------
    dict of str to ndarray
        "logits KIND" (n_test, n_patches, n_patches) of the three probes and of the two
        that see one token alone (1 or -1); "truncated R" of the quadratic probe;
        "eigenvalues"; "validation KIND" (loss); and for each ablation "NAME" of
        `ablation_names` "pairs NAME" (logits of the quadratic probe) and "class NAME"
        (whether the class probe names the class).
    """
    train = ~test
    flat = tokens[train].reshape(-1, tokens.shape[-1])
    # Not centred: the published forms have no linear term, and lose it with the mean.
    spread = flat.std(axis=0)
    usable = spread > 1e-6 * max(float(spread.max()), 1e-12)
    z = tokens / np.where(usable, spread, np.inf)
    known = {"settings": settings, "seed": seed, "device": device}
    found: Arrays = {}
    for kind in PROBES:
        fit = fit_pair_probe(z[train], patches.labels[train], kind=kind, **known)
        found[f"logits {kind}"] = fit.probe.logits(z[test]).astype(np.float32)
        held = float(fit.curves["val_loss"].iloc[fit.best_epoch])
        found[f"validation {kind}"] = np.array([held])
    probe = fit.probe  # the last kind is the quadratic one
    values, vectors = form_spectrum(probe.form)
    found["eigenvalues"] = values
    for rank in [r for r in RANKS if r <= len(values)]:
        part = truncate_probe(probe, rank).logits(z[test])
        found[f"truncated {rank}"] = part.astype(np.float32)
    classes = fit_class_probe(z[train], patches.classes[train], n_classes, **known)
    queries = max(8, max(len(np.unique(row)) for row in patches.labels[train]))
    identity = fit_identity_probe(
        z[train], patches.labels[train], n_queries=queries, **known
    )
    for kind, one in zip(POINTWISE, (classes, identity), strict=True):
        found[f"logits {kind}"] = _equal_answers(one, z[test])
    taken = min(ablated_rank, len(values) // 2)
    rng = generator(seed, "random directions")
    chance = np.linalg.qr(rng.standard_normal((len(values), taken)))[0]
    for name, basis in (("binding", vectors[:, :taken]), ("random", chance)):
        rows = {f"{name} {a:g}": ablate_directions(z[test], basis, a) for a in AMOUNTS}
        order = generator(seed, "shuffled directions", name)
        rows[f"{name} shuffled"] = shuffle_directions(z[test], basis, order)
        for key, changed in rows.items():
            found[f"pairs {key}"] = probe.logits(changed).astype(np.float32)
            found[f"class {key}"] = classes.predict(changed) == patches.classes[test]
    return found


def ablation_names() -> tuple[str, ...]:
    """Return the names of all ablations: what is changed, and how much of it.

    Returns
    -------
    tuple of str
        Such as "binding 0.5" and "random shuffled".
    """
    changes = [*(f"{a:g}" for a in AMOUNTS), "shuffled"]
    return tuple(f"{name} {how}" for name in ("binding", "random") for how in changes)


def baseline_logits(
    patches: Patches, test: NDArray[np.bool_], *, seed: int = 0
) -> Arrays:
    """Fit baselines that see no network.

    Parameters
    ----------
    patches : Patches
        Drawn patches.
    test : ndarray of bool, shape (n_pictures,)
        Pictures that no fit sees.
    seed : int, default 0
        Seed of the pairs that are taken.

    Returns
    -------
    dict of str to ndarray
        "logits NAME" (n_test, n_patches, n_patches) by `BASELINES`: the more frequent
        answer of the training pairs, and logistic regressions on the distance of the
        patches, on the difference of their mean colours, and on both.
    """
    same = patches.labels[:, :, None] == patches.labels[:, None, :]
    distance = patches.distances()
    colour = np.abs(patches.colours[:, :, None] - patches.colours[:, None, :])
    both = np.concatenate(
        [np.linalg.norm(colour, axis=-1, keepdims=True), colour], axis=-1
    )
    different_patch = distance > 0
    usual = 1.0 if same[~test][different_patch[~test]].mean() > 0.5 else -1.0
    shape = same[test].shape
    found: Arrays = {"logits majority": np.full(shape, usual, np.float32)}
    pictures, first, second = np.nonzero(np.triu(different_patch))
    learnt = np.flatnonzero(~test[pictures])
    rng = generator(seed, "baseline pairs")
    if len(learnt) > _MOST_PAIRS:
        learnt = np.sort(rng.permutation(learnt)[:_MOST_PAIRS])
    at = pictures[learnt], first[learnt], second[learnt]
    for name, features in (
        ("distance", distance[..., None]),
        ("colour", both),
        ("colour and distance", np.concatenate([both, distance[..., None]], axis=-1)),
    ):
        readout = fit_linear_readout(features[at], same[at], penalties=(1.0,))
        logits = readout.logits(features[test].reshape(-1, features.shape[-1]))
        both_classes = logits[:, 1] - logits[:, 0]
        found[f"logits {name}"] = both_classes.reshape(shape).astype(np.float32)
    return found


def mean_loss(logits: NDArray[Any], labels: NDArray[np.int64]) -> float:
    """Return the loss of one picture, NaN for answers without a degree.

    Parameters
    ----------
    logits : ndarray of float, shape (n_patches, n_patches)
        Logits, or answers of 1 and -1.
    labels : ndarray of int64, shape (n_patches,)
        Objects.

    Returns
    -------
    float
        Nats per ordered pair.
    """
    if np.isin(logits, (-1, 1)).all():
        return float("nan")
    return pair_loss(logits, labels)


def _equal_answers(probe: TokenProbe, tokens: FloatArray) -> NDArray[np.float32]:
    answers = probe.predict(tokens)
    equal = answers[:, :, None] == answers[:, None, :]
    return np.where(equal, 1, -1).astype(np.float32)
