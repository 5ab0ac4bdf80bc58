"""Captions of simulated voxels whose concept is known, and what else could name it.

The whole loop of BrainSCUBA without data of anybody: voxels that prefer a category by
declaration, an encoder on the embeddings of a small CLIP, projection onto a bank of
other drawings, and captions; beside it raw weights, the nearest and a random picture,
and responses that were shuffled before the fit.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from analysis.caption_words import named_concepts
from analysis.metrics import pearson_r
from data_loaders.simulated_selectivity import FAMILY, simulate_selective_units
from neurovis.adapters.brainscuba import (
    BASELINES,
    INVERSE_TEMPERATURE,
    NEAREST,
    PROJECTION,
    RAW,
    SCALED,
    VoxelCaptioner,
    bank_parts,
    check_same_network,
    projection_table,
    with_notes,
)
from neurovis.adapters.captioner import Captioner, load_captioner
from neurovis.adapters.feature_models import Backbone
from neurovis.adapters.sketch_generator import CATEGORIES
from neurovis.core.checks import check_between, check_whole
from neurovis.core.device import deterministic, exact_float32, resolve
from neurovis.core.embedding_bank import bank_of
from neurovis.core.files import sha256_bytes, sha256_json, write_table
from neurovis.core.log import progress
from neurovis.core.provenance import collect
from neurovis.core.rng import generator
from neurovis.core.store import Store
from neurovis.core.types import Score
from neurovis.fitting.ridge import RidgeCV
from neurovis.generation.sketch_networks import SIDE_PX
from tasks.braindive_observers import to_pixels
from tasks.brainscuba_scores import CHOSEN, PICTURES, SHUFFLED, TASK, brainscuba_scores
from tasks.picture_networks import OUTPUT, read_network
from tasks.runs import begin_run, check_same_run
from tasks.sketch_captions import CONCEPT_WORDS
from tasks.sketch_training import draw_sketches

_VERSION = 2
_TRAINING, _BANK = 808, 909
_ALPHAS = tuple(10.0**k for k in range(-3, 6))
_N_TEST = 500

FloatArray = NDArray[np.float32]


@dataclass(frozen=True)
class ScubaSettings:
    """Size of the experiment.

    Parameters
    ----------
    noise_sds : tuple of float, default (0.3, 1, 3)
        Standard deviations of the noise of voxels, whose own category adds .8 to 1.6.
    inverse_temperatures : tuple of float, default (1, 10, 50, 150, 1000)
        How sharply pictures of the bank are weighted.
    inverse_temperature : float, default 150
        The one of them that controls, repeats and comparisons are made with.
    penalty : float, default 1
        Penalty of the ridge regression that encoders are fitted with: a weak one.
        Encoders whose penalty is chosen for each voxel by cross-validation stand beside
        them, as conditions of their own.
    n_voxels : int, default 20
        Voxels per category.
    n_training : int, default 2000
        Drawings that encoders are fitted to; 500 further ones test them.
    n_bank : int, default 2000
        Drawings of the bank; none of them was shown to the simulated brain.
    n_repeats : int, default 5
        Parts of the bank that each voxel is captioned from again.
    n_brains : int, default 3
        Simulated brains, each with its own voxels, noise, drawings and bank.
    beam : int, default 5
        Beams of captions.

    Raises
    ------
    TypeError, ValueError
        If a number is out of range.
    """

    noise_sds: tuple[float, ...] = (0.3, 1.0, 3.0)
    inverse_temperatures: tuple[float, ...] = (1.0, 10.0, 50.0, 150.0, 1000.0)
    inverse_temperature: float = INVERSE_TEMPERATURE
    penalty: float = 1.0
    n_voxels: int = 20
    n_training: int = 2000
    n_bank: int = 2000
    n_repeats: int = 5
    n_brains: int = 3
    beam: int = 5

    def __post_init__(self) -> None:
        check_whole("n_voxels", self.n_voxels, low=2)
        check_whole("n_training", self.n_training, low=100)
        check_whole("n_repeats", self.n_repeats, low=2)
        check_whole("n_bank", self.n_bank, low=10 * self.n_repeats)
        check_whole("n_brains", self.n_brains, low=1)
        check_whole("beam", self.beam, low=1)
        if check_between("penalty", self.penalty, low=0) == 0:
            raise ValueError("`penalty` must be above 0.")
        for name in ("noise_sds", "inverse_temperatures"):
            values = getattr(self, name)
            for value in values:
                check_between(name, value, low=0)
            if len(set(values)) < len(values) or not values:
                raise ValueError(f"`{name}` must be different numbers; got {values}.")
        if self.inverse_temperature not in self.inverse_temperatures:
            raise ValueError(
                f"`inverse_temperature` must be one of {self.inverse_temperatures}; "
                f"got {self.inverse_temperature}."
            )


@dataclass(frozen=True, eq=False)
class _Shown:
    """Embeddings of the drawings of one simulated brain, and of its bank."""

    pictures: NDArray[np.uint8]
    categories: list[str]
    embeddings: FloatArray
    bank: FloatArray

    @property
    def units(self) -> FloatArray:
        """Embeddings of length 1."""
        length = np.linalg.norm(self.embeddings, axis=1, keepdims=True)
        return np.asarray(self.embeddings / length, np.float32)


def run_brainscuba(
    network: Backbone,
    captioner: Captioner | None = None,
    out: str | Path = "results/brainscuba",
    *,
    settings: ScubaSettings | None = None,
    seed: int = 0,
    device: str = "auto",
    n_bootstrap: int = 2000,
) -> Score:
    """Caption simulated voxels and count how often their concept is named.

    Interrupted, it resumes when called again and ends with identical tables.

    Parameters
    ----------
    network : Backbone
        What embeds drawings of 32 x 32 pixels, such as
        ``load_backbone("sketch_clip")``.
    captioner : Captioner, optional
        Says what an embedding of that network shows; the one that ships by default.
    out : str or Path
        Folder for tables.
    settings : ScubaSettings, optional
        Size.
    seed : int, default 0
        Seed of voxels, noise, drawings and shuffles.
    device : str, default "auto"
        Where networks run.
    n_bootstrap : int, default 2000
        Resamples for intervals.

    Returns
    -------
    Score
        Table of `tasks.brainscuba_scores.brainscuba_scores`.

    Raises
    ------
    TypeError, ValueError
        If an argument is wrong, captioner and network do not belong together, or `out`
        holds another run.
    PermissionError, NotADirectoryError
        If `out` cannot be written.

    Notes
    -----
    `out` gets ``captions.parquet`` (one row per voxel, noise and condition),
    ``encoders.parquet``, ``scores.parquet`` and ``provenance.json``.

    References
    ----------
    Luo, Henderson, Tarr and Wehbe (2024). ICLR. arXiv:2310.04420.
    """
    settings = ScubaSettings() if settings is None else settings
    check_whole("seed", seed, low=0, high=10**6)
    check_whole("n_bootstrap", n_bootstrap, low=2)
    place = resolve(device)
    captioner = load_captioner("sketch") if captioner is None else captioner
    captioner = captioner.to(place)
    _check_size(network, SIDE_PX)
    check_same_network(
        {
            network.name: {"weights_hash": network.weights_hash},
            f"the captioner {captioner.name}": captioner.embedding,
        }
    )
    arguments: dict[str, Any] = {
        "task": TASK,
        "version": _VERSION,
        "network": network.weights_hash,
        "captioner": captioner.fingerprint,
        "settings": asdict(settings),
        "seed": seed,
        "n_bootstrap": n_bootstrap,
    }
    check_same_run(out, arguments)
    folder = begin_run(out, arguments)
    store, captions = Store(folder / "parts"), []
    n_parts = settings.n_brains * len(settings.noise_sds)

    @cache
    def show(brain: int) -> _Shown:
        return _show(network, settings, seed, brain, place)

    with deterministic(), progress(n_parts, "captions", unit="encoder") as bar:
        for brain in range(settings.n_brains):
            for noise_sd in settings.noise_sds:
                parts = {
                    **{k: v for k, v in arguments.items() if k != "n_bootstrap"},
                    "settings": _of_part(settings),
                    "brain": brain,
                    "noise_sd": noise_sd,
                }

                def compute(
                    brain: int = brain, noise_sd: float = noise_sd
                ) -> pd.DataFrame:
                    return _caption_brain(
                        show(brain), network, captioner, settings, brain, noise_sd, seed
                    )

                found = store.get_or_compute(parts, compute)
                assert isinstance(found, pd.DataFrame)
                captions.append(found)
                bar.update()
    table = pd.concat(captions, ignore_index=True)
    write_table(folder / "captions.parquet", table)
    write_table(folder / "encoders.parquet", encoder_table(table))
    scores = brainscuba_scores(
        table,
        inverse_temperature=settings.inverse_temperature,
        stimuli=f"{TASK}:{sha256_json(arguments['settings'])[:12]}",
        n_bootstrap=n_bootstrap,
        seed=seed,
    )
    provenance = collect(
        seed,
        place,
        fingerprints={
            "network": network.weights_hash,
            "captioner": captioner.fingerprint,
        },
        call=arguments,
        notes=_notes(network, captioner),
    )
    score = Score(scores, provenance)
    score.save(folder)
    return score


def encoder_table(captions: pd.DataFrame) -> pd.DataFrame:
    """Return how well encoders predict responses to new drawings.

    Parameters
    ----------
    captions : DataFrame
        Rows of `run_brainscuba`, one per voxel, noise and condition.

    Returns
    -------
    DataFrame
        `encoder` ("fixed penalty" or "chosen penalty"), `noise_sd`, `brain`, `test_r`
        (mean over voxels) and `ceiling` (root of the share of the variance that is no
        noise).
    """
    names = {PROJECTION: "fixed penalty", PROJECTION + CHOSEN: "chosen penalty"}
    own = captions[captions["condition"].isin(names) & (captions["repeat"] == 0)]
    own = own.assign(encoder=own["condition"].map(names))
    keys = ["encoder", "noise_sd", "brain"]
    own = own.drop_duplicates([*keys, "unit"])
    return own.groupby(keys, as_index=False, sort=False)[["test_r", "ceiling"]].mean()


def _of_part(settings: ScubaSettings) -> dict[str, Any]:
    left_out = ("noise_sds", "n_brains")
    return {k: v for k, v in asdict(settings).items() if k not in left_out}


def _notes(network: Backbone, captioner: Captioner) -> list[str]:
    return [
        "Simulated voxels and drawings: a test of the method, and nothing about a "
        "brain.",
        *with_notes(network.notes, captioner.notes),
    ]


def _show(
    network: Backbone,
    settings: ScubaSettings,
    seed: int,
    brain: int,
    place: torch.device,
) -> _Shown:
    n_shown = settings.n_training + _N_TEST
    drawn, table = draw_sketches(n_shown, seed=_seed(_TRAINING, seed, brain))
    pictures = to_pixels(drawn)
    other, _ = draw_sketches(settings.n_bank, seed=_seed(_BANK, seed, brain))
    others = to_pixels(other)
    # What an encoder was fitted to must not be what its weights are projected onto.
    marks = {sha256_bytes(picture.tobytes()) for picture in pictures}
    kept = [sha256_bytes(picture.tobytes()) not in marks for picture in others]
    others = others[np.array(kept)]
    return _Shown(
        pictures,
        table["category"].tolist(),
        embed_drawings(network, pictures, place),
        embed_drawings(network, others, place),
    )


def _seed(first: int, seed: int, brain: int) -> int:
    return first + 1000 * (1000 * seed + brain)


@torch.no_grad()
def embed_drawings(
    network: Backbone, pictures: NDArray[np.uint8], place: torch.device
) -> FloatArray:
    """Return what a network makes of pictures of the size of its input.

    Parameters
    ----------
    network : Backbone
        Its output is the embedding.
    pictures : ndarray of uint8, shape (n, H, W, 3)
        RGB.
    place : torch.device
        Where to compute.

    Returns
    -------
    ndarray of float32, shape (n, n_features)
        Embeddings, of any length.

    Raises
    ------
    ValueError
        If pictures have another size.
    """
    _check_size(network, *pictures.shape[1:3])
    reader = read_network(network, [OUTPUT], place)
    parts = np.array_split(pictures, -(-len(pictures) // 256))
    with exact_float32():
        found = [reader.read(torch.tensor(x).to(place))[OUTPUT].cpu() for x in parts]
    return torch.cat(found).numpy()


def _check_size(network: Backbone, height: int, width: int | None = None) -> None:
    size = (height, height if width is None else width)
    if tuple(network.preprocessing.size_px) != size:
        raise ValueError(
            f"{network.name} looks at {network.preprocessing.size_px} pixels; the "
            f"drawings have {size}. Take `sketch_clip`, or another network of that "
            "size."
        )


def _caption_brain(
    shown: _Shown,
    network: Backbone,
    captioner: Captioner,
    settings: ScubaSettings,
    brain: int,
    noise_sd: float,
    seed: int,
) -> pd.DataFrame:
    """Return captions of all voxels of a brain, under all conditions."""
    responses = simulate_selective_units(
        shown.pictures,
        shown.categories,
        regions=CATEGORIES,
        subject=f"sim{brain:02d}",
        n_units=settings.n_voxels,
        n_repeats=1,
        noise_sd=noise_sd,
        seed=seed,
    )
    n, fixed = settings.n_training, (settings.penalty,)
    rows, betas = shown.units[:n], responses.betas[:n]
    fitted = {"": _fit(rows, betas, fixed), CHOSEN: _fit(rows, betas, _ALPHAS)}
    rng = generator(seed, TASK, "shuffled responses", brain, str(noise_sd))
    nothing = _fit(rows, rng.permuted(betas, axis=0), fixed)
    embedding = {"weights_hash": network.weights_hash}
    bank = bank_of(shown.bank, name="drawings", embedding=embedding)
    scuba = VoxelCaptioner(bank, captioner, embedding, device=captioner.device)
    about = pd.DataFrame(
        {
            "unit": np.arange(len(responses.units)),
            "unit_id": responses.units["unit_id"],
            "region": responses.units[FAMILY],
            "ceiling": np.sqrt(responses.units["noise_ceiling"]),
        }
    )
    vectors: list[FloatArray] = []
    heads: list[pd.DataFrame] = []

    def add(condition: str, rows: FloatArray, told: pd.DataFrame, **more: Any) -> None:
        vectors.append(rows)
        facts: dict[str, Any] = {
            "condition": condition,
            "inverse_temperature": np.nan,
            "repeat": 0,
            "test_r": np.nan,
        }
        heads.append(pd.concat([about.assign(**(facts | more)), told], axis=1))

    def project(condition: str, source: FloatArray, beta: float, **more: Any) -> Any:
        rows = more.pop("rows", None)
        found = scuba.project(source, inverse_temperature=beta, rows=rows)
        facts = {"inverse_temperature": beta, **more}
        add(condition, found.vectors, projection_table(found), **facts)
        return found

    chosen = settings.inverse_temperature
    weights = fitted[""].weights
    for suffix, encoder in fitted.items():
        r = encoder.test_r(shown.units[n:], responses.betas[n:])
        for beta in settings.inverse_temperatures if not suffix else (chosen,):
            project(PROJECTION + suffix, encoder.weights, beta, test_r=r)
        for kind in BASELINES if not suffix else (RAW, SCALED, NEAREST):
            instead = scuba.stand_ins(kind, encoder.weights, seed=brain)
            add(kind + suffix, instead, pd.DataFrame(), test_r=r)
    parts = bank_parts(bank.n_images, settings.n_repeats, seed=seed)
    for repeat, some in enumerate(parts, start=1):
        project(PROJECTION, weights, chosen, rows=some, repeat=repeat)
    project(SHUFFLED, nothing.weights, chosen)
    add(PICTURES, _examples(shown, list(about["region"]), n), pd.DataFrame())
    told = captioner.caption(np.concatenate(vectors), beam=settings.beam)
    table = pd.concat([pd.concat(heads, ignore_index=True), told], axis=1)
    named = [named_concepts(text, CONCEPT_WORDS) for text in table["caption"]]
    return table.assign(
        brain=brain,
        noise_sd=noise_sd,
        named=[",".join(names) for names in named],
        correct=[r in names for r, names in zip(table["region"], named, strict=True)],
    )


@dataclass(frozen=True, eq=False)
class _Encoder:
    """Weights of voxels, shape (n_units, n_features), and constants."""

    weights: FloatArray
    constant: FloatArray

    def test_r(self, rows: FloatArray, measured: NDArray[Any]) -> NDArray[np.float64]:
        seen = rows @ self.weights.T + self.constant
        return np.asarray(pearson_r(measured, seen))


def _fit(rows: FloatArray, betas: NDArray[Any], alphas: Sequence[float]) -> _Encoder:
    model = RidgeCV(alphas, device="cpu").fit(rows, np.ascontiguousarray(betas))
    coef = np.asarray(model.coef_, np.float32)
    constant = np.asarray(model.intercept_, np.float32)
    return _Encoder(np.ascontiguousarray(coef.T), constant)


def _examples(shown: _Shown, regions: Sequence[str], n: int) -> FloatArray:
    """Return embeddings of drawings that nothing was fitted to, one per voxel."""
    labels = np.array(shown.categories[n:])
    left = {name: iter(np.flatnonzero(labels == name)) for name in CATEGORIES}
    return shown.embeddings[[n + next(left[name]) for name in regions]]
