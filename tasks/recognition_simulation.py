"""Simulated people, a simulated model, and stand-in pictures for recognition.

With them the experiment runs without data. What is to be found is known: people share
which pictures are hard for them and answer with the shape; the model has difficulties
of its own and answers with the texture.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.sixteen_classes import CATEGORIES
from data_loaders.model_vs_human import make_decisions
from neurovis.core.pictures import LazyPictures
from neurovis.core.rng import generator
from neurovis.core.types import StimulusSet
from stimuli.display import Display, coverage, display_set, ground, lay, pixel_centres

FloatArray = NDArray[np.float64]

PICTURE_EXPERIMENTS = ("cue-conflict", "edge", "silhouette")
"""Experiments that have pictures."""

MODEL_NAME = "simulated network"
"""Name of the simulated model in tables."""

_CONTRASTS = {
    "c100": 2.5,
    "c50": 2.0,
    "c30": 1.5,
    "c15": 0.8,
    "c10": 0.0,
    "c05": -1.2,
    "c03": -2.2,
    "c01": -4.0,
}
_EXEMPLARS = 5
_N_PEOPLE = 6
_CONTOUR_POINTS = 90


@dataclass(frozen=True)
class _Observer:
    """What a simulated observer is like."""

    subject: str
    sharing: float
    """Share of the variance of difficulty that all people have in common, 0..1."""
    ability: Mapping[str, float]
    """Log odds of a right answer to a picture of average difficulty."""
    texture: float
    """Share of wrong answers that name the texture."""


def simulated_decisions(seed: int = 0) -> pd.DataFrame:
    """Simulate six people and one model in four experiments.

    Parameters
    ----------
    seed : int, default 0
        Of difficulties and answers.

    Returns
    -------
    DataFrame
        As `data_loaders.model_vs_human.load_model_vs_human` gives. The experiments
        are cue-conflict, edge and silhouette, with the pictures of
        `simulated_pictures`, and contrast with the conditions of the published one.

    Notes
    -----
    The log odds of a right answer are ``ability - 2 (sqrt(r) shared + sqrt(1 - r)
    own)``, with standard normal difficulties of each picture; people have r = 0.9, the
    model 0. Errors of the model are thus independent of those of people: the expected
    error consistency is 0, at equal accuracy as at any other.

    Examples
    --------
    >>> table = simulated_decisions()
    >>> table.groupby("experiment")["subject"].nunique().tolist()
    [7, 7, 7, 7]
    """
    person = {"cue-conflict": 1.5, "edge": 2.0, "silhouette": 1.2, "contrast": 0.0}
    model = {"cue-conflict": -1.5, "edge": -0.8, "silhouette": -0.2, "contrast": -0.5}
    observers = [
        _Observer(f"subject-{i + 1:02d}", 0.9, person, 0.1) for i in range(_N_PEOPLE)
    ]
    observers.append(_Observer(MODEL_NAME, 0.0, model, 0.85))
    tables = [
        _decide(observer, trials, experiment, seed)
        for experiment, trials in _trials().items()
        for observer in observers
    ]
    return pd.concat(tables, ignore_index=True)


def simulated_pictures(seed: int = 0) -> dict[str, StimulusSet]:
    """Return pictures for the simulated experiments: stand-ins for the categories.

    Each category has an outline and a texture of its own, drawn at random. They look
    like nothing in particular: what a network answers to them says nothing about it.

    Parameters
    ----------
    seed : int, default 0
        Of outlines and textures.

    Returns
    -------
    dict of str to StimulusSet
        For each of `PICTURE_EXPERIMENTS` pictures of 224 x 224 pixels, with the
        columns `image_id`, `truth` (shape) and `texture` ("" but for cue-conflict).
    """
    trials = _trials()
    sets = {}
    for experiment in PICTURE_EXPERIMENTS:
        table = trials[experiment].drop(columns="condition")
        table = table.assign(experiment=experiment, stimulus_id=table["image_id"])
        drawn = display_set(f"simulated {experiment}", table, partial(_draw, seed=seed))
        # They are looked at more than once, and small: each is drawn once.
        kept = LazyPictures(cache(drawn.load), range(len(drawn)))
        sets[experiment] = replace(drawn, images=kept)
    return sets


# ------------------------------------------------------------------- decisions


def _trials() -> dict[str, pd.DataFrame]:
    """Return what is shown in each experiment, the same for every seed."""
    n = len(CATEGORIES)
    kinds = [(shape, k) for shape in range(n) for k in range(_EXEMPLARS)]
    conflict = pd.DataFrame(
        [
            # The first texture of a shape is its own: no conflict.
            (shape, k, (shape + 3 * k) % n)
            for shape, k in kinds
        ],
        columns=["shape", "exemplar", "texture"],
    )
    name = np.asarray(CATEGORIES, object)
    conflict["image_id"] = [
        f"{name[s]}{k + 1}-{name[t]}{k + 1}.png" for s, k, t in conflict.to_numpy()
    ]
    plain = conflict.assign(
        texture=-1, image_id=[f"{name[s]}{k + 1}.png" for s, k in kinds]
    )
    contrast = pd.concat(
        [
            plain.assign(condition=c, image_id=[f"{c}-{i}" for i in plain["image_id"]])
            for c in _CONTRASTS
        ],
        ignore_index=True,
    )
    tables = {
        "cue-conflict": conflict.assign(condition="0"),
        "edge": plain.assign(condition="0"),
        "silhouette": plain.assign(condition="0"),
        "contrast": contrast,
    }
    return {
        experiment: table.assign(
            truth=name[table["shape"]],
            texture=np.where(table["texture"] < 0, "", name[table["texture"]]),
        )[["image_id", "condition", "truth", "texture", "exemplar"]]
        for experiment, table in tables.items()
    }


def _decide(
    observer: _Observer, trials: pd.DataFrame, experiment: str, seed: int
) -> pd.DataFrame:
    shared = generator(seed, "difficulty", experiment).standard_normal(len(trials))
    rng = generator(seed, "answers", experiment, observer.subject)
    own = rng.standard_normal(len(trials))
    difficulty = np.sqrt(observer.sharing) * shared
    difficulty += np.sqrt(1 - observer.sharing) * own
    shift = trials["condition"].map(_CONTRASTS).fillna(0.0).to_numpy(float)
    ability = observer.ability[experiment] + shift
    right = rng.random(len(trials)) < 1 / (1 + np.exp(2 * difficulty - ability))
    truth = trials["truth"].to_numpy(object)
    # One of the other fifteen.
    place = {category: i for i, category in enumerate(CATEGORIES)}
    step = rng.integers(1, len(CATEGORIES), len(trials))
    other = (np.array([place[t] for t in truth]) + step) % len(CATEGORIES)
    wrong = np.asarray(CATEGORIES, object)[other]
    texture = trials["texture"].to_numpy(object)
    names_texture = (texture != "") & (rng.random(len(trials)) < observer.texture)
    wrong = np.where(names_texture, texture, wrong)
    n = len(trials)
    return make_decisions(
        experiment,
        subject=[observer.subject] * n,
        trial=np.arange(n),
        rt_ms=np.full(n, np.nan),
        response=np.where(right, truth, wrong),
        truth=truth,
        condition=trials["condition"],
        imagename=trials["image_id"],
        session=np.ones(n, int),
    )


# -------------------------------------------------------------------- pictures


def _draw(row: Mapping[str, Any], seed: int) -> Display:
    size = ground()
    outline = _outline(row["truth"], int(row["exemplar"]), seed)
    if row["experiment"] == "edge":
        image = np.ones_like(size)
        # A ring, thin everywhere: far quicker than a line of many short pieces.
        inner, outer = (
            coverage(scale * outline, size.shape, 32.0) for scale in (0.98, 1.02)
        )
        lay(image, outer - inner, 0.0)
        return Display(image, 32.0)
    cover = coverage(outline, size.shape, 32.0)
    if row["experiment"] == "silhouette":
        image = np.ones_like(size)
        lay(image, cover, 0.0)
        return Display(image, 32.0)
    image = np.full((*size.shape, 3), 0.76)
    lay(image, cover, _texture(row["texture"], int(row["exemplar"]), size.shape, seed))
    return Display(image, 32.0)


def _outline(category: str, exemplar: int, seed: int) -> FloatArray:
    """Return a closed contour: a circle with a few waves that tell the category."""
    rng = generator(seed, "outline", category)
    sizes, phases = rng.uniform(-0.12, 0.12, 5), rng.uniform(0, 2 * np.pi, 5)
    turn = generator(seed, "exemplar", category, exemplar).uniform(-0.4, 0.4)
    angle = np.linspace(0, 2 * np.pi, _CONTOUR_POINTS, endpoint=False)
    waves = np.arange(2, 7)[:, None] * (angle - turn) + phases[:, None]
    radius = 2.1 * (1 + sizes @ np.cos(waves))
    return np.column_stack([radius * np.cos(angle), radius * np.sin(angle)])


def _texture(
    category: str, exemplar: int, shape: tuple[int, ...], seed: int
) -> FloatArray:
    """Return a coloured pattern of gratings that tells the category."""
    rng = generator(seed, "texture", category)
    waves = rng.normal(0.0, 1.5, (3, 2))
    colours = rng.uniform(-0.16, 0.16, (3, 3))
    phases = generator(seed, "phase", category, exemplar).uniform(0, 2 * np.pi, 3)
    x, y = pixel_centres(shape, 32.0)
    image = np.full((*shape, 3), 0.5)
    for (along, up), colour, phase in zip(waves, colours, phases, strict=True):
        wave = np.cos(2 * np.pi * (along * x + up * y) + phase)
        image += wave[..., None] * colour
    return np.asarray(np.clip(image, 0, 1))
