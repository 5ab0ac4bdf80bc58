"""BrainSCUBA: what makes a voxel respond, said in words.

The weights of an encoder on CLIP embeddings are a direction among embeddings, but not
an embedding of any picture. They are moved to where pictures are, as a weighted mean of
the embeddings of a bank of natural pictures, and a captioner says what that shows.

References
----------
Luo, Henderson, Tarr and Wehbe (2024). BrainSCUBA: fine-grained natural language
captions of visual cortex selectivity. ICLR. arXiv:2310.04420.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from neurovis.adapters.captioner import Captioner
from neurovis.core.checks import check_array, check_option, check_whole
from neurovis.core.device import resolve
from neurovis.core.embedding_bank import EmbeddingBank, draw_repeats
from neurovis.core.rng import generator
from neurovis.generation.bank_projection import BankProjection, project_onto_bank

INVERSE_TEMPERATURE = 150.0
"""As published, for banks of two million pictures."""

PROJECTION = "projection"
RAW, SCALED = "raw weights", "raw weights, mean norm"
NEAREST, RANDOM = "nearest image", "random image"
BASELINES = (RAW, SCALED, NEAREST, RANDOM)
"""What else can be captioned: the weights as they are (length 1, or as long as
embeddings are on average), the picture of the bank that is most like them, and one
drawn at random."""

FloatArray = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class VoxelCaptioner:
    """A bank of pictures and a captioner, for the weights of one kind of embedding.

    Parameters
    ----------
    bank : EmbeddingBank
        Embeddings of pictures.
    captioner : Captioner
        Says what an embedding shows.
    embedding : mapping of str to object, default {}
        What the weights belong to, as `EmbeddingBank.embedding` tells it: with
        `weights_hash`, the bank and the captioner must tell the same where they tell
        any.
    device : str or torch.device, default "cpu"
        Where the bank is gone through; the CPU in place of MPS, which lacks float64.

    Raises
    ------
    ValueError
        If bank and captioner, or the weights, belong to different embeddings.
    """

    bank: EmbeddingBank
    captioner: Captioner
    embedding: Mapping[str, Any] = field(default_factory=dict)
    device: str | torch.device = "cpu"

    def __post_init__(self) -> None:
        if self.bank.n_features != self.captioner.n_features:
            raise ValueError(
                f"The bank {self.bank.name} holds embeddings of {self.bank.n_features} "
                f"values, but the captioner {self.captioner.name} reads "
                f"{self.captioner.n_features}: they belong to different networks."
            )
        check_same_network(
            {
                "the encoder": self.embedding,
                f"the bank {self.bank.name}": self.bank.embedding,
                f"the captioner {self.captioner.name}": self.captioner.embedding,
            }
        )

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader of captions must know."""
        found = with_notes(self.bank.notes, self.captioner.notes)
        if not self.captioner.embedding.get("weights_hash"):
            found.append(
                f"{self.captioner.name} does not tell the weights of the network whose "
                "embeddings it was trained on: only the number of values was checked."
            )
        return tuple(dict.fromkeys(found))

    def project(
        self,
        weights: NDArray[Any],
        *,
        inverse_temperature: float = INVERSE_TEMPERATURE,
        rows: NDArray[np.int64] | None = None,
    ) -> BankProjection:
        """Move weights to where embeddings of pictures are.

        Parameters
        ----------
        weights : ndarray of float, shape (n_units, n_features)
            Of any length above 0.
        inverse_temperature : float, default 150
            The larger, the fewer pictures count.
        rows : ndarray of int64, optional
            Pictures of the bank that are taken, ascending; all by default.

        Returns
        -------
        BankProjection
            One row per unit.

        Raises
        ------
        TypeError, ValueError
            If weights do not fit the bank, or are not finite or zero.
        """
        return project_onto_bank(
            weights,
            self.bank,
            inverse_temperature=inverse_temperature,
            rows=rows,
            device=_with_float64(self.device),
        )

    def stand_ins(
        self,
        kind: str,
        weights: NDArray[Any],
        *,
        projection: BankProjection | None = None,
        rows: NDArray[np.int64] | None = None,
        seed: int = 0,
    ) -> FloatArray:
        """Return what a baseline captions in place of the projection.

        Parameters
        ----------
        kind : str
            One of `BASELINES`.
        weights : ndarray of float, shape (n_units, n_features)
            Weights.
        projection : BankProjection, optional
            For "nearest image", if it is there already.
        rows : ndarray of int64, optional
            Pictures of the bank that are taken; all by default.
        seed : int, default 0
            Seed of "random image".

        Returns
        -------
        ndarray of float32, shape (n_units, n_features)
            Embeddings.

        Raises
        ------
        ValueError
            If the kind is unknown or weights do not fit.
        """
        check_option("kind", kind, BASELINES)
        shape = (None, self.bank.n_features)
        given = check_array("weights", weights, shape=shape, finite=True)
        length = np.linalg.norm(given.astype(np.float64), axis=1, keepdims=True)
        if (length == 0).any():
            raise ValueError(
                f"`weights` of unit {int(np.argmin(length))} are all 0: they point "
                "nowhere. Leave such units out."
            )
        unit: FloatArray = (given / length).astype(np.float32)
        if kind == RAW:
            return unit
        if kind == SCALED:
            scaled: FloatArray = np.float32(mean_norm(self.bank, rows)) * unit
            return scaled
        if kind == NEAREST:
            found = projection or self.project(given, rows=rows)
            return self.bank.rows(found.nearest)
        rng = generator(seed, "brainscuba", RANDOM)
        n = self.bank.n_images if rows is None else len(rows)
        drawn = rng.integers(0, n, len(unit))
        return self.bank.rows(drawn if rows is None else rows[drawn])

    def caption(
        self,
        weights: NDArray[Any],
        *,
        inverse_temperature: float = INVERSE_TEMPERATURE,
        n_repeats: int = 1,
        n_images: int | None = None,
        beam: int = 5,
        max_tokens: int = 67,
        batch_size: int | Literal["auto"] = "auto",
        seed: int = 0,
    ) -> pd.DataFrame:
        """Say what makes units respond.

        Parameters
        ----------
        weights : ndarray of float, shape (n_units, n_features)
            Weights of an encoder on embeddings of length 1.
        inverse_temperature : float, default 150
            The larger, the fewer pictures count.
        n_repeats : int, default 1
            Captions of each unit, from different parts of the bank; the paper has 5.
        n_images : int, optional
            Pictures of each part; by default the bank is divided evenly.
        beam, max_tokens, batch_size : optional
            As `neurovis.adapters.captioner.Captioner.caption`.
        seed : int, default 0
            Seed of the parts.

        Returns
        -------
        DataFrame
            One row per repeat and unit: `repeat`, `unit` (row of `weights`), `caption`,
            `log_prob` (mean per token), `n_tokens`, `finished`, and of the projection
            `effective_number` (pictures that count: exp of the entropy), `cosine` (with
            the weights), `norm`, `nearest` (row of the bank) and `nearest_cosine`.

        Raises
        ------
        TypeError, ValueError
            If weights do not fit the bank, are not finite or zero, or a number is out
            of range.

        Notes
        -----
        Where `effective_number` is close to 1 the caption is that of the nearest
        picture; where it is close to the size of the bank, that of the mean picture.
        """
        parts = bank_parts(self.bank.n_images, n_repeats, n_images, seed=seed)
        tables = []
        for repeat, rows in enumerate(parts):
            found = self.project(
                weights, inverse_temperature=inverse_temperature, rows=rows
            )
            told = self.captioner.caption(
                found.vectors, beam=beam, max_tokens=max_tokens, batch_size=batch_size
            )
            head = pd.DataFrame({"repeat": repeat, "unit": np.arange(len(told))})
            tables.append(pd.concat([head, told, projection_table(found)], axis=1))
        return pd.concat(tables, ignore_index=True)


def _with_float64(device: str | torch.device) -> torch.device:
    place = resolve(device)
    return torch.device("cpu") if place.type == "mps" else place


def check_same_network(told: Mapping[str, Mapping[str, Any]]) -> None:
    """Refuse embeddings of different networks.

    Parameters
    ----------
    told : mapping of str to mapping
        What is told of embeddings, by who tells it; `weights_hash` is compared where it
        is told.

    Raises
    ------
    ValueError
        If two tell different hashes.
    """
    known = {n: e["weights_hash"] for n, e in told.items() if e.get("weights_hash")}
    if len(set(known.values())) > 1:
        names = ", ".join(f"{name}: {mark[:12]}" for name, mark in known.items())
        raise ValueError(
            f"Embeddings of different networks cannot be mixed (hashes of their "
            f"weights: {names}). Build the bank with the network of the encoder "
            "(`neurovis bank build`), and take a captioner that was trained on it."
        )


def with_notes(first: Sequence[str], more: Sequence[str]) -> list[str]:
    """Join notes: a network that ships with its captioner has one note with it.

    Parameters
    ----------
    first : sequence of str
        Notes, all of which are kept.
    more : sequence of str
        Notes that are added where no text of `first` holds them.

    Returns
    -------
    list of str
        Both.

    Examples
    --------
    >>> with_notes(["clip: small."], ["small.", "new."])
    ['clip: small.', 'new.']
    """
    told = " ".join(first)
    return [*first, *(note for note in more if note not in told)]


def projection_table(projection: BankProjection) -> pd.DataFrame:
    """Return what is told of projections beside their captions.

    Parameters
    ----------
    projection : BankProjection
        Of n units.

    Returns
    -------
    DataFrame
        One row per unit: `effective_number`, `cosine`, `norm`, `nearest`,
        `nearest_cosine`.
    """
    names = ("effective_number", "cosine", "norm", "nearest", "nearest_cosine")
    return pd.DataFrame({name: getattr(projection, name) for name in names})


def bank_parts(
    n_bank: int, n_repeats: int, n_images: int | None = None, *, seed: int = 0
) -> Sequence[NDArray[np.int64] | None]:
    """Return which pictures of a bank each repeat takes.

    Parameters
    ----------
    n_bank : int
        Pictures of the bank.
    n_repeats : int
        Repeats.
    n_images : int, optional
        Pictures of each; by default the bank is divided evenly.
    seed : int, default 0
        Seed of the parts.

    Returns
    -------
    sequence of ndarray of int64, or None
        Disjoint, ascending rows; None for the whole bank.

    Raises
    ------
    ValueError
        If the bank is too small.

    Examples
    --------
    >>> bank_parts(100, 1)
    [None]
    >>> [len(part) for part in bank_parts(100, 3)]
    [33, 33, 33]
    """
    check_whole("n_repeats", n_repeats, low=1)
    if n_repeats == 1 and n_images is None:
        return [None]
    each = n_bank // n_repeats if n_images is None else n_images
    return draw_repeats(n_bank, n_repeats, each, seed=seed)


def mean_norm(bank: EmbeddingBank, rows: NDArray[np.int64] | None = None) -> float:
    """Return the mean length of embeddings.

    Parameters
    ----------
    bank : EmbeddingBank
        Embeddings.
    rows : ndarray of int64, optional
        Which ones; all by default.

    Returns
    -------
    float
        Mean of their Euclidean norms.
    """
    total, n = 0.0, 0
    for _, block in bank.blocks(65_536, rows):
        total += float(np.linalg.norm(block.astype(np.float64), axis=1).sum())
        n += len(block)
    return total / n
