"""A localiser for models: which categories of pictures their units prefer.

Pictures of a localiser of category-selective regions are shown to models that were
fitted to brains, and the predicted responses are analysed as those of people are.
Nobody was measured with these pictures: what is found are properties of the models.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from analysis.selectivity import EXCLUDED
from data_loaders.category_pictures import CategoryPictures, load_category_pictures
from neurovis.adapters.features import fingerprint_pictures
from neurovis.core.checks import check_whole
from neurovis.core.device import deterministic, resolve
from neurovis.core.files import plain, sha256_json, write_table
from neurovis.core.log import progress
from neurovis.core.pictures import LazyPictures
from neurovis.core.provenance import code_fingerprint, collect
from neurovis.core.store import Store
from neurovis.core.types import SCORE_COLUMNS, Score
from tasks.encoder_predict import (
    ModelCard,
    PictureModel,
    load_networks,
    load_picture_model,
    read_model_card,
)
from tasks.encoding_layers import file_name
from tasks.encoding_maps import find_space, write_unit_maps
from tasks.encoding_run import ENCODERS, load_encoding, model_folder
from tasks.encoding_run import TASK as LINEAR
from tasks.encoding_scores import WHOLE
from tasks.localiser_scores import (
    Level,
    LocaliserSettings,
    kept_pictures,
    localise,
    make_levels,
    split_pictures,
)
from tasks.runs import begin_run, check_same_run, read_call

TASK = "localiser"
VERSION = 1
"""Raised when the same call gives other numbers."""

TABLES = ("units", "regions", "scores")
NOBODY = (
    "Responses of models, which predict those of people or animals to other pictures: "
    "nobody was measured with these pictures."
)
NEIGHBOURS = (
    "Limits are over units drawn with replacement. Neighbouring units are not "
    "independent, so that limits are too narrow for conclusions about other brains."
)
_EXTRA = (
    *("level", "category", "family", "n_units", "n_defined"),
    *("chance_mean", "chance_low", "chance_high", "p_value"),
    *("data", "untrained", "simulated"),
)


@dataclass(frozen=True)
class LocalisedModel:
    """A fitted model that is shown pictures.

    Parameters
    ----------
    card : ModelCard
        What it is.
    subject, model, layer : str
        Names in tables.
    """

    card: ModelCard
    subject: str
    model: str
    layer: str

    @property
    def title(self) -> str:
        """Names in one line."""
        return " ".join(filter(None, (self.subject, self.model, self.layer)))

    @property
    def marks(self) -> dict[str, Any]:
        """Columns that tell a model in tables."""
        return {
            "data": str(self.card.training["data"]),
            "subject": self.subject,
            "model": self.model,
            "layer": self.layer,
            "untrained": self.card.is_untrained,
            "simulated": bool(self.card.training["simulated"]),
        }


def run_localiser(
    model: str | Path | Sequence[str | Path],
    pictures: str | Path | CategoryPictures,
    out: str | Path = "results/localiser",
    *,
    contrast: str | Sequence[str] | None = None,
    exclude: Sequence[str] = EXCLUDED,
    split_half: bool = True,
    n_permutations: int = 200,
    n_bootstrap: int = 1000,
    weights: str | Path | None = None,
    store: str | Path | None = None,
    seed: int = 0,
    device: str = "auto",
) -> Score:
    """Show pictures of categories to fitted models, and leave tables and maps.

    Interrupted, it resumes when called again and ends with identical tables.

    Parameters
    ----------
    model : str, Path or sequence of such
        Folders of fitted models, linear or trained, or of finished fits. Of a fit each
        model is taken with the layer that was chosen over all units of each subject.
    pictures : str, Path or CategoryPictures
        Folder as `data_loaders.category_pictures.load_category_pictures` reads it,
        such as that of the localiser fLoc, or its content.
    out : str or Path
        Folder for the tables.
    contrast : str or sequence of str, optional
        Domains and categories that are compared with all others; all by default.
    exclude : sequence of str, default ("scrambled",)
        Domains and categories whose pictures are not shown.
    split_half : bool, default True
        Compute how well selectivity repeats in the other half of the pictures.
    n_permutations : int, default 200
        Permutations of the pictures' labels, for chance.
    n_bootstrap : int, default 1000
        Resamples of units, for limits.
    weights : str or Path, optional
        Weights of the only network, if they lie elsewhere by now.
    store : str or Path, optional
        Where features are kept; in `out` by default.
    seed : int, default 0
        Seed of all draws.
    device : str, default "auto"
        Where networks run.

    Returns
    -------
    Score
        The table of ``scores.parquet``. Beside `SCORE_COLUMNS`: `level` ("domain" or
        "category"), `category` (also in `condition`), `family` of the region,
        `n_units`, `n_defined`, `data`, `untrained`, `simulated`, and chance. Metrics:
        "d_prime_mean" of the units of each region with limits; "auc" of these units
        against all others of the subject; "share_preferred" and "share_selective"
        (d' > 0 and FDR below 5 %), 0..1; "abs_d_prime_mean" over all units with
        `chance_mean`, `chance_low`, `chance_high` (central 95 % of permuted pictures)
        and `p_value`; and of halves "split_half_r" (of d' over units),
        "split_half_spearman_brown", and "split_half_top_d_prime" (mean d' in the
        second half of the ten units that were most selective in the first).

    Raises
    ------
    TypeError, ValueError
        If an argument is wrong, features of a model cannot be computed from pictures,
        a network is not that of the model, or `out` holds another run.
    FileNotFoundError, DataCorruptError, MissingDependencyError
        If models, weights or pictures are missing or damaged.
    PermissionError, FileExistsError, NotADirectoryError, OSError
        If `out` or `store` cannot be written.

    Notes
    -----
    The folder gets ``units.parquet`` (one row per unit, level and category: d', Welch's
    t, p, `p_fdr` over the units, and `preferred`, the category with the largest d' of
    its level, "" where there is none), ``regions.parquet``, and
    ``maps/SUBJECT/MODEL/LAYER_LEVEL-CATEGORY_d_prime`` where a model tells the places
    of its units, or the fit left maps of its own. Each domain is compared with all
    others, and each category with all others, those of its domain included. The tests
    are over pictures: they ask whether other pictures of these categories would show
    the same.

    References
    ----------
    Stigliani, Weiner and Grill-Spector (2015). J. Neurosci. 35, 12412-12424.
    doi:10.1523/JNEUROSCI.4822-14.2015
    """
    settings = LocaliserSettings(
        bool(split_half),
        check_whole("n_permutations", n_permutations, low=0),
        check_whole("n_bootstrap", n_bootstrap, low=1),
        check_whole("seed", seed, low=0),
    )
    place = resolve(device)
    left_out = [exclude] if isinstance(exclude, str) else list(exclude)
    shown = _load(pictures)
    rows = kept_pictures(shown.table, left_out)
    table = shown.table.iloc[rows].reset_index(drop=True)
    levels = make_levels(table, contrast)
    halves = split_pictures(table) if split_half else None
    found, skipped = find_models(model)
    images = LazyPictures(shown.pictures.__getitem__, [int(row) for row in rows])
    mark = fingerprint_pictures(images)
    arguments = plain(
        {
            "task": TASK,
            "models": {one.title: one.card.fingerprint for one in found},
            "pictures": mark,
            "contrast": [contrast] if isinstance(contrast, str) else contrast,
            "exclude": left_out,
            **asdict(settings),
        }
    )
    check_same_run(out, arguments)
    networks: dict[Any, Any] = {}
    # All are checked before any is shown a picture.
    load_networks([f for one in found for f in one.card.spaces], weights, networks)
    folder = begin_run(out, arguments)
    where = Path(store) if store is not None else folder / "store" / "features"
    results = Store(folder / "parts")
    labels = sha256_json(table[["domain", "category"]].to_numpy(str).tolist())
    tables: dict[str, list[pd.DataFrame]] = {name: [] for name in TABLES}
    notes, unplaced = [NOBODY, *skipped], []
    with deterministic(), progress(len(found), "localising", unit="model") as bar:
        for one in found:
            looking = load_picture_model(
                one.card.home, weights=weights, networks=networks
            )
            notes += filter(None, looking.notes)
            own = _localised(
                one,
                partial(_responses, looking, images, where, mark, str(place)),
                looking,
                levels,
                halves,
                settings,
                {"pictures": mark, "labels": labels},
                results,
            )
            for name in TABLES:
                tables[name].append(own[name].assign(**one.marks))
            if not _write_maps(folder, one, looking.units, own["units"]):
                unplaced.append(one.title)
            bar.update()
    notes.append(NEIGHBOURS)
    if unplaced:
        notes.append(
            "No maps, where neither model nor fit tell the places of units: "
            f"{', '.join(unplaced)}."
        )
    joined = {k: pd.concat(parts, ignore_index=True) for k, parts in tables.items()}
    for name in TABLES[:2]:
        write_table(folder / f"{name}.parquet", joined[name])
    marks = {f"model {one.title}": one.card.fingerprint for one in found}
    provenance = collect(
        seed,
        place,
        fingerprints={**marks, "pictures": mark, **dict(shown.fingerprints)},
        call=arguments,
        notes=list(dict.fromkeys(notes)),
    )
    scores = joined["scores"].assign(
        task=TASK,
        stimuli=f"{shown.name}:{mark[:12]}",
        condition=joined["scores"]["category"],
        n=len(table),
        seed=seed,
    )
    score = Score(scores.reindex(columns=[*SCORE_COLUMNS, *_EXTRA]), provenance)
    score.save(folder)
    return score


def find_models(
    model: str | Path | Sequence[str | Path],
) -> tuple[list[LocalisedModel], list[str]]:
    """Return the models of folders: of fitted ones, or of finished fits.

    Parameters
    ----------
    model : str, Path or sequence of such
        See `run_localiser`.

    Returns
    -------
    models : list of LocalisedModel
        At least one; names differ.
    notes : list of str
        Which models of a fit were left out, and why.

    Raises
    ------
    ValueError
        If none can be shown pictures, or two have one name.
    FileNotFoundError, DataCorruptError
        If a folder holds neither, or is damaged.
    """
    folders = [model] if isinstance(model, str | Path) else list(model)
    found: list[LocalisedModel] = []
    notes: list[str] = []
    for folder in map(Path, folders):
        if (folder / "run.json").is_file():
            task = read_call(folder).get("task")
            if task in (LINEAR, ENCODERS):
                own, more = _models_of(folder)
                found += own
                notes += more
                continue
        card = read_model_card(folder)
        card.check_source()
        found.append(LocalisedModel(card, *card.names))
    if not found:
        why = " ".join(notes) or "`model` is empty."
        raise ValueError(f"There is no model that could be shown pictures. {why}")
    titles = [one.title for one in found]
    twice = [title for title in titles if titles.count(title) > 1]
    if twice:
        raise ValueError(
            f"`model` has two models called {twice[0]!r}: localise them one by one."
        )
    return found, notes


def _models_of(folder: Path) -> tuple[list[LocalisedModel], list[str]]:
    """Return each model of a fit, with the layer chosen over all units."""
    run = load_encoding(folder)
    chosen = run.layers[run.layers["chosen"] & (run.layers["region"] == WHOLE)]
    found, notes = [], []
    for names in chosen[["subject", "model", "layer"]].astype(str).to_numpy():
        subject, model, layer = map(str, names)
        home = model_folder(folder, subject, model, layer)
        title = " ".join(filter(None, (subject, model, layer)))
        if not home.is_dir():
            notes.append(f"{title} was left out: the fit kept no weights of it.")
            continue
        card = read_model_card(home)
        try:
            card.check_source()
        except ValueError as error:
            notes.append(f"{title} was left out: {error}")
            continue
        found.append(LocalisedModel(card, subject, model, layer))
    return found, notes


def _load(pictures: str | Path | CategoryPictures) -> CategoryPictures:
    if isinstance(pictures, CategoryPictures):
        return pictures
    return load_category_pictures(pictures)


def _responses(
    looking: PictureModel, images: LazyPictures, store: Path, mark: str, device: str
) -> np.ndarray[Any, Any]:
    seen = looking.look(images, store=store, fingerprint=mark, device=device)
    return seen.predict()


def _localised(
    one: LocalisedModel,
    predict: Any,
    looking: PictureModel,
    levels: Sequence[Level],
    halves: np.ndarray[Any, Any] | None,
    settings: LocaliserSettings,
    shown: dict[str, Any],
    store: Store,
) -> dict[str, pd.DataFrame]:
    """Return the tables of a model, from the store when they are there."""
    families = [
        name
        for name in one.card.training.get("families", ())
        if name in looking.units.columns
    ]
    parts = {
        "task": TASK,
        "version": VERSION,
        "code": code_fingerprint(),
        "model": one.card.fingerprint,
        **shown,
        "levels": [[level.name, list(level.tested)] for level in levels],
        "settings": asdict(settings),
    }
    computed: dict[str, pd.DataFrame] = {}

    def compute(name: str) -> pd.DataFrame:
        if not computed:
            units = looking.units
            computed.update(
                localise(predict(), units, families, levels, halves, settings)
            )
        return computed[name]

    return {
        name: store.get_or_compute({**parts, "table": name}, partial(compute, name))
        for name in TABLES
    }


def _write_maps(
    folder: Path, one: LocalisedModel, units: pd.DataFrame, found: pd.DataFrame
) -> list[Path]:
    """Write d' of each category as a map, where units have a place."""
    space = one.card.space or find_space(one.card.home)
    if space is None:
        return []
    values = {}
    for (level, category), rows in found.groupby(["level", "category"], sort=False):
        stem = f"{file_name(one.layer)}_{level}-{file_name(str(category))}_d_prime"
        values[stem] = rows["d_prime"].to_numpy(np.float64)
    home = folder / "maps" / file_name(one.subject) / file_name(one.model)
    return write_unit_maps(home, values, units, space)
