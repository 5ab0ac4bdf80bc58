"""What the odd-one-out experiment compares: observers of triplets, and embeddings."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from analysis.simulated_triplets import (
    draw_triplets,
    simulate_choices,
    sparse_embedding,
)
from analysis.triplet_agreement import category_embedding, check_same_objects
from data_loaders.object_embeddings import read_object_rows
from data_loaders.things_triplets import (
    CATEGORIES,
    load_things_triplets,
    read_triplets,
)
from neurovis.core.checks import check_path
from neurovis.core.files import sha256_bytes, sha256_file
from neurovis.core.rng import generator

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

N_SIMULATED = 48
"""Objects of the simulation."""

_N_DIMENSIONS, _DRAWN, _REPEATED, _REPEATS = 6, 3000, 100, 20


@dataclass(frozen=True, eq=False)
class ObjectEmbedding:
    """Features of all objects.

    Parameters
    ----------
    name : str
        In tables.
    rows : ndarray of float64, shape (n_objects, n_features)
        One row per object.
    kind : {"embedding", "category", "simulated"}
        Where it comes from.
    untrained : bool, default False
        Whether it is known to be random.
    """

    name: str
    rows: FloatArray
    kind: str = "embedding"
    untrained: bool = False

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the numbers."""
        return sha256_bytes(np.ascontiguousarray(self.rows).tobytes())


@dataclass(frozen=True, eq=False)
class TripletData:
    """Choices of observers, with what is known of the objects.

    Parameters
    ----------
    name : str
        Of the data, in tables.
    observers : dict of str to ndarray of int64, shape (n_triplets, 3)
        Choices, the odd one third; the first observer is whom all are held against.
    n_objects : int
        Number of objects.
    labels : dict of str to list of str
        Categories of the objects, by name; may be empty.
    embeddings : list of ObjectEmbedding
        That come with the data.
    fingerprints : dict of str to str
        Hashes of files or numbers.
    notes : tuple of str
        What a reader must know.
    """

    name: str
    observers: dict[str, IntArray]
    n_objects: int
    labels: dict[str, list[str]] = field(default_factory=dict)
    embeddings: list[ObjectEmbedding] = field(default_factory=list)
    fingerprints: dict[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def reference(self) -> str:
        """Name of the first observer."""
        return next(iter(self.observers))


def load_triplet_data(
    data: str | Path | Sequence[str | Path] | None,
    *,
    n_objects: int | None = None,
    seed: int = 0,
) -> TripletData:
    """Load choices of observers, or simulate them.

    Parameters
    ----------
    data : str, Path, sequence of these, or None
        Folder of `data_loaders.things_triplets.load_things_triplets`; files of
        choices, ``[NAME=]PATH``, of one observer each; None for a simulation.
    n_objects : int, optional
        Number of objects of files; by default as many as the indices need.
    seed : int, default 0
        Seed of the simulation.

    Returns
    -------
    TripletData
        At least one observer.

    Raises
    ------
    ValueError
        If files are not about the same triplets, or two have one name.
    FileNotFoundError, DataCorruptError
        If a file is missing or damaged.
    """
    if data is None:
        return _simulate(seed)
    listed = [data] if isinstance(data, str | Path) else list(data)
    if not listed:
        raise ValueError("`data` is empty: name a folder, or one file or more.")
    if len(listed) == 1 and Path(listed[0]).is_dir():
        return _things(Path(listed[0]))
    paths = {name: check_path("data", path) for name, path in map(split_name, listed)}
    if len(paths) < len(listed):
        raise ValueError(
            "`data` has two observers of one name: write NAME=PATH to name them."
        )
    observers = {
        name: read_triplets(path, n_objects=n_objects) for name, path in paths.items()
    }
    check_same_objects(observers)
    most = max(int(rows.max()) for rows in observers.values()) + 1
    marks = {f"choices {name}": sha256_file(path) for name, path in paths.items()}
    title = "triplets"
    return TripletData(title, observers, n_objects or most, fingerprints=marks)


def load_embeddings(embeddings: Sequence[str | Path]) -> list[ObjectEmbedding]:
    """Load embeddings of objects.

    Parameters
    ----------
    embeddings : sequence of str or Path
        Each ``[NAME=]PATH``, see `data_loaders.object_embeddings.read_object_rows`.

    Returns
    -------
    list of ObjectEmbedding
        In the same order.

    Raises
    ------
    ValueError
        If two have one name.
    FileNotFoundError, DataCorruptError
        If a file is missing or damaged.
    """
    listed = [embeddings] if isinstance(embeddings, str | Path) else list(embeddings)
    named = [split_name(text) for text in listed]
    names = [name for name, _ in named]
    if len(set(names)) < len(names):
        raise ValueError(
            f"`embeddings` has one name twice in {names}: write NAME=PATH to name them."
        )
    return [ObjectEmbedding(name, read_object_rows(path)) for name, path in named]


def split_name(text: str | Path) -> tuple[str, Path]:
    """Split ``[NAME=]PATH``.

    Parameters
    ----------
    text : str or Path
        A path, with a name before it or not.

    Returns
    -------
    name : str
        The name, or the stem of the file.
    path : Path
        The path.

    Examples
    --------
    >>> split_name("mine=data/a.npy")[0], split_name("data/a.npy")[0]
    ('mine', 'a')
    """
    name, equals, rest = str(text).partition("=")
    if equals and name and "/" not in name:
        return name, Path(rest)
    return Path(text).stem, Path(text)


def _things(folder: Path) -> TripletData:
    data = load_things_triplets(folder)
    labels = {name: data.concepts[name].tolist() for name in CATEGORIES}
    embeddings = [
        ObjectEmbedding(f"category {name}", category_embedding(values), "category")
        for name, values in labels.items()
    ]
    return TripletData(
        "things-triplets",
        data.observers,
        len(data.concepts),
        labels,
        embeddings,
        data.fingerprints,
        (
            "One answer per triplet: these data have no noise ceiling. People agreed "
            "with each other on 67.2 % of other triplets (Hebart et al. 2020, recalled "
            "from the paper, not verified).",
        ),
    )


def _simulate(seed: int) -> TripletData:
    """Let two observers with a known embedding choose, one of them with more noise."""
    truth = sparse_embedding(N_SIMULATED, _N_DIMENSIONS, share=0.5, seed=seed)
    drawn = np.sort(draw_triplets(N_SIMULATED, _DRAWN, seed=seed), axis=1)
    drawn = generator(seed, "order").permutation(np.unique(drawn, axis=0))
    repeated = np.repeat(drawn[:_REPEATED], _REPEATS, axis=0)
    rows = np.concatenate([drawn[_REPEATED:], repeated])
    observers = {
        "simulated observer": simulate_choices(truth, rows, seed=seed),
        "noisier observer": simulate_choices(
            truth, rows, temperature=2.5, seed=seed + 1
        ),
    }
    rng = generator(seed, "simulated embeddings")
    blurred = truth + rng.normal(0, 0.5, truth.shape)
    random = rng.normal(0, 1, truth.shape)
    embeddings = [
        ObjectEmbedding("generator", truth, "simulated"),
        ObjectEmbedding("generator with noise", blurred, "simulated"),
        ObjectEmbedding("random", random, "simulated", untrained=True),
    ]
    return TripletData(
        "simulated-triplets",
        observers,
        N_SIMULATED,
        embeddings=embeddings,
        fingerprints={"generator": embeddings[0].fingerprint},
        notes=(
            "Simulated choices of a known embedding; nothing here is about people.",
            "random: untrained, random numbers.",
        ),
    )
