"""Search over the noise that images start from, with any predictor as the judge.

Evolution needs no gradients: the predictor may be another program, or a brain. Vectors
of standard normal numbers are selected, mixed and mutated so that they stay what a
generator takes for noise.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from neurovis.core.checks import check_array, check_between, check_whole
from neurovis.core.rng import generator

Draw = Callable[[Tensor], NDArray[np.uint8]]
"""From latents, float32 (n, ...) on the CPU, to images (n, H, W, 3)."""

Predict = Callable[[NDArray[np.uint8]], NDArray[np.floating]]
"""From images, uint8 (n, H, W, 3), to scores (n,)."""

COLUMNS = (
    "generation",
    "individual",
    "score",
    "origin",
    "first_parent",
    "second_parent",
    "latent_rms",
)

# Directions nearer than this are mixed along the straight line.
_NEAR = 0.9995


@dataclass(frozen=True)
class SearchSettings:
    """How latents are searched.

    Parameters
    ----------
    n_generations : int, default 40
        Generations, with the first one, which is drawn at random.
    population : int, default 20
        Latents of a generation, at least 2.
    elite : float, default 0.3
        Share of the best, which stay and are the parents of the others; at least one.
    crossover : float, default 0.5
        Probability that a child has two parents.
    mutation : float, default 0.2
        Share m of fresh noise in a child: ``sqrt(1 - m**2) * parent + m * noise``.

    Raises
    ------
    TypeError, ValueError
        If a number is out of range, or nobody would be replaced.
    """

    n_generations: int = 40
    population: int = 20
    elite: float = 0.3
    crossover: float = 0.5
    mutation: float = 0.2

    def __post_init__(self) -> None:
        check_whole("n_generations", self.n_generations, low=1)
        check_whole("population", self.population, low=2)
        for name in ("elite", "crossover", "mutation"):
            check_between(name, getattr(self, name), low=0, high=1)
        if self.n_elite == self.population:
            raise ValueError(
                f"`elite` {self.elite} of a population of {self.population} would "
                "replace nobody: make it smaller."
            )

    @property
    def n_elite(self) -> int:
        """How many latents stay."""
        return max(1, round(self.elite * self.population))

    @property
    def n_evaluations(self) -> int:
        """How many images are drawn and scored in all."""
        children = self.population - self.n_elite
        return self.population + (self.n_generations - 1) * children


@dataclass(frozen=True, eq=False)
class LatentSearch:
    """What a search found.

    Parameters
    ----------
    latents : Tensor of float32, shape (population, ...)
        The last generation, best first.
    scores : ndarray of float64, shape (population,)
        Of each; NaN where the predictor had none.
    table : pandas.DataFrame
        One row per individual and generation, best first: `generation` and
        `individual` from 0, `score`, `origin` ("random", "elite" or "child"),
        `first_parent` and `second_parent` (individuals of the generation before; -1
        for none) and `latent_rms`, the root mean square of the latent, about 1.
    settings : SearchSettings
        How it was searched.
    seed : int
        Of the search.
    """

    latents: Tensor
    scores: NDArray[np.float64]
    table: pd.DataFrame
    settings: SearchSettings
    seed: int

    @property
    def best(self) -> Tensor:
        """The best latent, of the shape asked for."""
        return self.latents[0]

    @property
    def curve(self) -> pd.Series:
        """Best score of each generation; it never falls."""
        return self.table.groupby("generation")["score"].max()


def search_latents(
    draw: Draw,
    score: Predict,
    shape: Sequence[int],
    *,
    settings: SearchSettings | None = None,
    seed: int = 0,
    batch_size: int = 16,
    resume: LatentSearch | None = None,
) -> LatentSearch:
    """Search latents whose images score high.

    Parameters
    ----------
    draw : callable
        From latents, float32 (n, ...) on the CPU, to images, uint8 (n, H, W, 3);
        equal latents must give equal images.
    score : callable
        From such images to scores, (n,): the higher the better, NaN if undefined.
    shape : sequence of int
        Of one latent, such as the `shape` of a generator.
    settings : SearchSettings, optional
        How to search.
    seed : int, default 0
        Of all random numbers; each latent has a stream of its own.
    batch_size : int, default 16
        Latents that are drawn at once; results do not depend on it.
    resume : LatentSearch, optional
        Earlier result with the same seed and settings but for the number of
        generations; the end is that of a search without a break.

    Returns
    -------
    LatentSearch
        Last generation and history.

    Raises
    ------
    TypeError, ValueError
        If a number is out of range, images or scores have another shape, no score of
        the first generation is defined, or `resume` is of another search.

    Notes
    -----
    Elites are not scored again: use a predictor without noise. Undefined scores rank
    last.

    Examples
    --------
    >>> def draw(latents):  # one grey pixel
    ...     return (latents.clamp(-1, 1) * 127 + 127).byte().numpy().repeat(3, 3)
    >>> def brightness(images):
    ...     return images.mean((1, 2, 3))
    >>> found = search_latents(draw, brightness, (1, 1, 1))
    >>> float(found.scores[0])
    254.0
    """
    settings = SearchSettings() if settings is None else settings
    shape = tuple(check_whole("shape", number, low=1) for number in shape)
    check_whole("batch_size", batch_size, low=1)
    n_elite, population = settings.n_elite, settings.population
    if resume is None:
        latents = torch.stack(
            [_normal(generator(seed, "latent", 0, i), shape) for i in range(population)]
        )
        scores = _score(draw, score, latents, batch_size)
        if np.isnan(scores).all():
            raise ValueError("`score` returned NaN for all images: nothing to select.")
        origins = [("random", -1, -1)] * population
        latents, scores, rows = _ranked(0, latents, scores, origins)
        tables, first = [rows], 1
    else:
        _check_resumed(resume, shape, settings, seed)
        latents, scores = resume.latents, resume.scores
        tables = [resume.table]
        first = int(resume.table["generation"].max()) + 1
    for generation in range(first, settings.n_generations):
        born, parents = [], []
        for i in range(n_elite, population):
            stream = generator(seed, "latent", generation, i)
            child, pair = _breed(latents[:n_elite], stream, settings)
            born.append(child)
            parents.append(("child", *pair))
        children = torch.stack(born)
        new = _score(draw, score, children, batch_size)
        origins = [("elite", i, -1) for i in range(n_elite)] + parents
        latents, scores, rows = _ranked(
            generation,
            torch.cat([latents[:n_elite], children]),
            np.concatenate([scores[:n_elite], new]),
            origins,
        )
        tables.append(rows)
    table = pd.concat(tables, ignore_index=True)
    return LatentSearch(latents, scores, table, settings, seed)


def mix_latents(one: Tensor, other: Tensor, share: float) -> Tensor:
    """Return what lies between two latents, on the arc that keeps their length.

    Parameters
    ----------
    one, other : Tensor of float32
        Two latents of one shape.
    share : float
        Of the other, 0..1.

    Returns
    -------
    Tensor of float32
        Its root mean square lies between those of the two, however alike they are.

    Raises
    ------
    TypeError, ValueError
        If `share` is out of range, or the shapes differ.

    Examples
    --------
    >>> east, north = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0])
    >>> [round(value, 4) for value in mix_latents(east, north, 0.5).tolist()]
    [0.7071, 0.7071]
    """
    check_between("share", share, low=0, high=1)
    if one.shape != other.shape:
        raise ValueError(
            f"Latents must have one shape; got {tuple(one.shape)} and "
            f"{tuple(other.shape)}."
        )
    a, b = one.double(), other.double()
    lengths = float(a.norm()), float(b.norm())
    if not min(lengths):
        return ((1 - share) * a + share * b).to(one.dtype)
    a, b = a / lengths[0], b / lengths[1]
    cosine = float((a * b).sum())
    if abs(cosine) > _NEAR:
        mixed = (1 - share) * a + share * b
    else:
        angle = math.acos(cosine)
        mixed = math.sin((1 - share) * angle) * a + math.sin(share * angle) * b
        mixed = mixed / math.sin(angle)
    length = (1 - share) * lengths[0] + share * lengths[1]
    return (length * mixed).to(one.dtype)


def _normal(stream: np.random.Generator, shape: tuple[int, ...]) -> Tensor:
    return torch.from_numpy(stream.standard_normal(shape, dtype=np.float32))


def _breed(
    elites: Tensor, stream: np.random.Generator, settings: SearchSettings
) -> tuple[Tensor, tuple[int, int]]:
    """Return a child and its parents."""
    first, second = int(stream.integers(len(elites))), -1
    child = elites[first]
    if len(elites) > 1 and stream.random() < settings.crossover:
        # Anyone but the first.
        second = int((first + stream.integers(1, len(elites))) % len(elites))
        child = mix_latents(child, elites[second], float(stream.random()))
    fresh = _normal(stream, tuple(child.shape))
    kept = math.sqrt(1 - settings.mutation**2)
    return kept * child + settings.mutation * fresh, (first, second)


def _score(
    draw: Draw, score: Predict, latents: Tensor, batch_size: int
) -> NDArray[np.float64]:
    scores = []
    for start in range(0, len(latents), batch_size):
        part = latents[start : start + batch_size]
        wanted = (len(part), None, None, 3)
        images = check_array("draw(latents)", draw(part), shape=wanted, dtype=np.uint8)
        found = check_array("score(images)", score(images), shape=(len(part),))
        scores.append(found.astype(np.float64))
    joined = np.concatenate(scores)
    if np.isinf(joined).any():
        raise ValueError("`score` returned infinite values: nothing to select by.")
    return joined


def _ranked(
    generation: int,
    latents: Tensor,
    scores: NDArray[np.float64],
    origins: list[tuple[str, int, int]],
) -> tuple[Tensor, NDArray[np.float64], pd.DataFrame]:
    """Return everything best first; ties keep their order, NaN is last."""
    order = np.argsort(-scores, kind="stable")
    latents, scores = latents[torch.from_numpy(order)], scores[order]
    origin, first, second = zip(*(origins[i] for i in order), strict=True)
    rms = latents.flatten(1).double().square().mean(1).sqrt().numpy()
    columns = (generation, range(len(scores)), scores, origin, first, second, rms)
    return latents, scores, pd.DataFrame(dict(zip(COLUMNS, columns, strict=True)))


def _check_resumed(
    resume: LatentSearch, shape: tuple[int, ...], settings: SearchSettings, seed: int
) -> None:
    asked = replace(settings, n_generations=resume.settings.n_generations)
    found = (resume.seed, tuple(resume.latents.shape[1:]), resume.settings)
    if found != (seed, shape, asked):
        raise ValueError(
            "`resume` must be of a search with the same seed, shape and settings, but "
            f"for the number of generations: expected {(seed, shape, asked)}; got "
            f"{found}."
        )
