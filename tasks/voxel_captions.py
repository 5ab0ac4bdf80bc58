"""Captions of the units of a fitted encoder: `neurovis generate captions`."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.caption_words import CONCEPTS, PEOPLE
from analysis.noun_tagger import load_noun_tagger
from data_loaders.category_pictures import CategoryPictures
from neurovis.adapters.brainscuba import (
    BASELINES,
    INVERSE_TEMPERATURE,
    PROJECTION,
    VoxelCaptioner,
    bank_parts,
    projection_table,
)
from neurovis.adapters.captioner import Captioner, load_captioner
from neurovis.core.checks import check_between, check_option, check_whole
from neurovis.core.device import deterministic, resolve
from neurovis.core.embedding_bank import EmbeddingBank, open_bank, sound_rows
from neurovis.core.files import plain, write_table
from neurovis.core.log import progress
from neurovis.core.provenance import collect
from neurovis.core.store import Store
from neurovis.core.types import Score
from neurovis.generation.bank_projection import BankProjection
from tasks.clip_encoder_model import ClipEncoder, load_clip_encoder
from tasks.picture_gradients import unit_regions
from tasks.runs import begin_run
from tasks.sketch_captions import CONCEPT_WORDS
from tasks.voxel_caption_scores import (
    LocalisedUnits,
    caption_scores,
    localise_units,
    unit_words,
    write_caption_maps,
)

TASK = "voxel-captions"
_VERSION = 1
_AT_ONCE = 256
"""Captions that are written before the next are begun."""

NO_TEST = (
    "Captions are statements of models about an encoder; whether cortex responds to "
    "what they name can be told only by new measurements."
)


@dataclass(frozen=True)
class CaptionSettings:
    """How units are captioned.

    Parameters
    ----------
    inverse_temperature : float, default 150
        How sharply pictures of the bank are weighted.
    n_repeats : int, default 5
        Captions of each unit, from different parts of the bank.
    n_images : int, optional
        Pictures of each part (the paper: 2,000,000); by default the bank is divided
        evenly.
    baselines : tuple of str, default all
        What else is captioned, once: `neurovis.adapters.brainscuba.BASELINES`.
    drop_failed : bool, default False
        Leave out rows of the bank that are not finite or all 0, as other builders write
        them for pictures that failed; the bank is read once more for it.
    beam : int, default 5
        Beams.
    max_tokens : int, default 67
        Longest caption.

    Raises
    ------
    TypeError, ValueError
        If a value is out of range.
    """

    inverse_temperature: float = INVERSE_TEMPERATURE
    n_repeats: int = 5
    n_images: int | None = None
    baselines: tuple[str, ...] = BASELINES
    drop_failed: bool = False
    beam: int = 5
    max_tokens: int = 67

    def __post_init__(self) -> None:
        check_between("inverse_temperature", self.inverse_temperature, low=0)
        check_whole("n_repeats", self.n_repeats, low=1)
        check_whole("beam", self.beam, low=1)
        check_whole("max_tokens", self.max_tokens, low=1)
        for name in self.baselines:
            check_option("baselines", name, BASELINES)


def caption_voxels(
    encoder: str | Path | ClipEncoder,
    bank: str | Path | EmbeddingBank,
    captioner: str | Path | Captioner = "sketch",
    out: str | Path = "results/captions",
    *,
    settings: CaptionSettings | None = None,
    regions: Sequence[str] | None = None,
    least_r: float | None = None,
    concepts: Mapping[str, Sequence[str]] | None = None,
    people: Sequence[str] = PEOPLE,
    tagger: str | Path | None = None,
    localiser: str | Path | CategoryPictures | None = None,
    weights: str | Path | None = None,
    batch_size: int | Literal["auto"] = "auto",
    n_permutations: int = 1000,
    n_bootstrap: int = 1000,
    seed: int = 0,
    device: str = "auto",
) -> Score:
    """Say for each unit of an encoder what makes it respond, and count the words.

    Interrupted, it resumes when called again and ends with identical tables.

    Parameters
    ----------
    encoder : str, Path or ClipEncoder
        Folder of an encoder of embeddings, below ``models`` of
        `tasks.clip_encoder.fit_clip_encoder`.
    bank : str, Path or EmbeddingBank
        Folder of ``neurovis bank build``, or files of embeddings, of the network of the
        encoder.
    captioner : str, Path or Captioner
        Folder, name on the hub, or "sketch".
    out : str or Path
        Folder for tables and maps.
    settings : CaptionSettings, optional
        How.
    regions : sequence of str, optional
        Regions whose units are captioned; all fitted units by default.
    least_r : float, optional
        Leave out units that are predicted worse than with this correlation.
    concepts : mapping of str to sequence of str, optional
        Nouns of each concept; by default those of `analysis.caption_words`, and those
        of the drawings for captioners of drawings.
    people : sequence of str
        Nouns for people.
    tagger : str or Path, optional
        Take as nouns what a tagger of parts of speech tells, see
        `analysis.noun_tagger.load_noun_tagger`: "nltk" for the weights that nltk finds,
        or their folder. By default nouns are those of `concepts`.
    localiser : str, Path or CategoryPictures, optional
        Pictures of a localiser, or their folder as
        `data_loaders.category_pictures.load_category_pictures` reads it: captions are
        compared with the selectivity that the encoder shows for these pictures.
    weights : str or Path, optional
        Weights of the encoder's network, if they lie elsewhere by now; needed with
        `localiser` only.
    batch_size : int or "auto", default "auto"
        Captions at once.
    n_permutations : int, default 1000
        Permutations of units, for chance.
    n_bootstrap : int, default 1000
        Resamples of units, for limits.
    seed : int, default 0
        Seed of the parts of the bank and all draws.
    device : str, default "auto"
        Where to compute.

    Returns
    -------
    Score
        Table of `tasks.voxel_caption_scores.caption_scores`.

    Raises
    ------
    TypeError, ValueError, KeyError
        If an argument is wrong, encoder, bank and captioner do not belong together, no
        unit is left, or `out` holds another run.
    FileNotFoundError, DataCorruptError, MissingDependencyError
        If files are missing or damaged.
    PermissionError, NotADirectoryError
        If `out` cannot be written.

    Notes
    -----
    `out` gets ``captions.parquet`` (one row per unit, repeat and condition),
    ``captions.csv`` (the first repeat, to be read), ``units.parquet`` (what the words
    of each unit say), ``nouns.parquet`` (nouns of each region), ``scores.parquet``,
    ``provenance.json`` and, where units have places, ``maps``.

    References
    ----------
    Luo, Henderson, Tarr and Wehbe (2024). ICLR. arXiv:2310.04420.
    """
    settings = CaptionSettings() if settings is None else settings
    check_whole("n_permutations", n_permutations, low=0)
    check_whole("n_bootstrap", n_bootstrap, low=2)
    check_whole("seed", seed, low=0)
    place = resolve(device)
    model = encoder if isinstance(encoder, ClipEncoder) else load_clip_encoder(encoder)
    pictures = bank if isinstance(bank, EmbeddingBank) else open_bank(bank)
    speaker = captioner
    if not isinstance(speaker, Captioner):
        speaker = load_captioner(speaker, device=str(place))
    if concepts is None:
        is_sketch = speaker.embedding.get("network") == "sketch_clip"
        concepts = CONCEPT_WORDS if is_sketch else CONCEPTS
    space = dict(model.features["spaces"][0])
    scuba = VoxelCaptioner(pictures, speaker, space, device=place)
    chosen = choose_units(model, regions, least_r)
    tag = None
    if tagger is not None:
        tag = load_noun_tagger(None if tagger == "nltk" else Path(tagger))
    families = list(model.training.get("families", ()))
    parts = _bank_parts(pictures, settings, seed)
    localised = None
    if localiser is not None:
        localised = localise_units(model, localiser, weights=weights, device=place)
    arguments: dict[str, Any] = plain(
        {
            "task": TASK,
            "version": _VERSION,
            "encoder": model.fingerprint,
            "bank": pictures.fingerprint,
            "n_bank": pictures.n_images,
            "captioner": speaker.fingerprint,
            "settings": asdict(settings),
            "families": families,
            "regions": None if regions is None else list(regions),
            "least_r": least_r,
            "concepts": {name: list(words) for name, words in concepts.items()},
            "people": list(people),
            "tagger": None if tagger is None else str(tagger),
            "localiser": None if localised is None else localised.fingerprint,
            "n_permutations": n_permutations,
            "n_bootstrap": n_bootstrap,
            "seed": seed,
        }
    )
    folder = begin_run(out, arguments)
    with deterministic():
        told = _caption_all(
            scuba, model, chosen, parts, settings, folder, seed, batch_size
        )
    units = model.units.iloc[chosen].reset_index(drop=True)
    told.insert(2, "unit_id", model.units["unit_id"].to_numpy()[told["unit"]])
    words, nouns = unit_words(
        told,
        units.assign(unit=chosen, test_r=model.test_r[chosen]),
        families=families,
        concepts=concepts,
        people=people,
        tagger=tag,
        localised=localised,
    )
    write_table(folder / "captions.parquet", told)
    write_table(folder / "captions.csv", _readable(told))
    write_table(folder / "units.parquet", words)
    write_table(folder / "nouns.parquet", nouns)
    scores = caption_scores(
        told,
        words,
        families=families,
        concepts=concepts,
        n_permutations=n_permutations,
        n_bootstrap=n_bootstrap,
        seed=seed,
    )
    write_caption_maps(folder, model, words)
    provenance = collect(
        seed,
        place,
        fingerprints={
            "encoder": model.fingerprint,
            "bank": pictures.fingerprint,
            "captioner": speaker.fingerprint,
        },
        call=arguments,
        notes=list(dict.fromkeys(_notes(model, scuba, localised, told))),
    )
    score = Score(
        scores.assign(
            subject=str(model.training.get("subject", "")),
            stimuli=f"{pictures.name}:{pictures.fingerprint[:12]}",
            task=TASK,
            seed=seed,
        ),
        provenance,
    )
    score.save(folder)
    return score


def choose_units(
    model: ClipEncoder, regions: Sequence[str] | None, least_r: float | None
) -> NDArray[np.int64]:
    """Return the rows of the units that are captioned.

    Parameters
    ----------
    model : ClipEncoder
        The encoder.
    regions : sequence of str or None
        Regions, see `tasks.picture_gradients.unit_regions`; None for all.
    least_r : float or None
        Least correlation with held-out responses.

    Returns
    -------
    ndarray of int64
        Ascending.

    Raises
    ------
    ValueError
        If a region is unknown or no unit is left.
    """
    chosen = model.known
    if regions is not None:
        families = list(model.training.get("families", ()))
        masks = unit_regions(model.units, families)
        for name in regions:
            check_option("regions", name, tuple(masks))
        chosen = chosen & np.any([masks[name] for name in regions], axis=0)
    if least_r is not None:
        check_between("least_r", least_r, low=-1, high=1)
        with np.errstate(invalid="ignore"):
            chosen = chosen & (model.test_r >= least_r)
    # Weights that are all 0 point nowhere.
    points = np.zeros(model.n_units, bool)
    points[model.voxel_index] = (model.weight != 0).any(axis=1)
    chosen = chosen & points
    if not chosen.any():
        raise ValueError(
            f"No unit is left to caption: {int(model.known.sum())} were fitted, "
            f"`regions` are {regions}, `least_r` is {least_r}. Ask for less."
        )
    return np.flatnonzero(chosen).astype(np.int64)


def _bank_parts(
    bank: EmbeddingBank, settings: CaptionSettings, seed: int
) -> Sequence[NDArray[np.int64] | None]:
    """Return the rows of the bank that each repeat takes."""
    number = (settings.n_repeats, settings.n_images)
    if not settings.drop_failed:
        return bank_parts(bank.n_images, *number, seed=seed)
    sound = sound_rows(bank)
    parts = bank_parts(len(sound), *number, seed=seed)
    return [sound if part is None else sound[part] for part in parts]


def _caption_all(
    scuba: VoxelCaptioner,
    model: ClipEncoder,
    chosen: NDArray[np.int64],
    parts: Sequence[NDArray[np.int64] | None],
    settings: CaptionSettings,
    folder: Path,
    seed: int,
    batch_size: int | Literal["auto"],
) -> pd.DataFrame:
    """Return captions of all repeats and baselines; what is in the store is kept."""
    store = Store(folder / "parts")
    weights = model.weight[np.searchsorted(model.voxel_index, chosen)]
    facts = {
        "task": TASK,
        "version": _VERSION,
        "encoder": model.fingerprint,
        "bank": scuba.bank.fingerprint,
        "captioner": scuba.captioner.fingerprint,
        "units": plain(chosen),
        "beam": settings.beam,
        "max_tokens": settings.max_tokens,
    }
    beta = settings.inverse_temperature
    drawn = [settings.n_repeats, settings.n_images, settings.drop_failed, seed]

    def project(repeat: int) -> BankProjection:
        def compute() -> dict[str, NDArray[Any]]:
            found = scuba.project(weights, inverse_temperature=beta, rows=parts[repeat])
            return dict(vars(found))

        key = {
            "what": "projection",
            "inverse_temperature": beta,
            "repeat": repeat,
            "parts": drawn,
        }
        kept = store.get_or_compute({**facts, **key}, compute)
        assert isinstance(kept, dict)
        return BankProjection(**kept)

    jobs = [(PROJECTION, repeat) for repeat in range(settings.n_repeats)]
    jobs += [(name, 0) for name in settings.baselines]
    tables = []
    with progress(len(jobs) * len(chosen), "captions", unit="unit") as bar:
        for condition, repeat in jobs:
            found = project(repeat)
            vectors = found.vectors
            if condition != PROJECTION:
                vectors = scuba.stand_ins(
                    condition, weights, projection=found, rows=parts[0], seed=seed
                )
            for start in range(0, len(chosen), _AT_ONCE):
                some = vectors[start : start + _AT_ONCE]

                def compute(some: NDArray[np.float32] = some) -> pd.DataFrame:
                    return scuba.captioner.caption(
                        some,
                        beam=settings.beam,
                        max_tokens=settings.max_tokens,
                        batch_size=batch_size,
                    )

                key = {
                    "what": "captions",
                    "condition": condition,
                    "inverse_temperature": beta,
                    "repeat": repeat,
                    "parts": drawn,
                    "start": start,
                }
                told = store.get_or_compute({**facts, **key}, compute)
                assert isinstance(told, pd.DataFrame)
                stop = start + len(some)
                head = {
                    "condition": condition,
                    "repeat": repeat,
                    "unit": chosen[start:stop],
                }
                own = [pd.DataFrame(head), told]
                if condition == PROJECTION:
                    own.append(projection_table(found).iloc[start:stop])
                own = [part.reset_index(drop=True) for part in own]
                tables.append(pd.concat(own, axis=1))
                bar.update(len(some))
    return pd.concat(tables, ignore_index=True)


def _readable(told: pd.DataFrame) -> pd.DataFrame:
    """Return the first caption of each unit, with those of the baselines beside it."""
    first = told[told["repeat"] == 0]
    own = first.groupby("condition", sort=False)
    columns = {name: part.set_index("unit_id")["caption"] for name, part in own}
    return pd.DataFrame(columns).rename_axis("unit_id").reset_index()


def _notes(
    model: ClipEncoder,
    scuba: VoxelCaptioner,
    localised: LocalisedUnits | None,
    told: pd.DataFrame,
) -> list[str]:
    notes = [NO_TEST, *model.notes, *scuba.notes]
    if model.card.is_untrained:
        notes.append("The encoder looks through an untrained network.")
    if model.training.get("simulated"):
        notes.insert(0, "Simulated responses: nothing about a brain.")
    if localised is not None:
        notes.append(localised.note)
    if np.allclose(told["norm"].dropna(), 1, atol=1e-3):
        notes.append(
            f"All embeddings of the bank {scuba.bank.name} have length 1. Captioners "
            "such as CLIPCap were trained on embeddings of other lengths."
        )
    return notes
