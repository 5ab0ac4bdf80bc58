"""What a network eats: whether the diet of pictures makes its search asymmetric.

Networks of one architecture are trained, without labels, on the same pictures: as they
are, turned, warped, crossed out or scrambled. Then all of them search the displays of
the six search-asymmetry experiments (Gupta et al., 2021, NeurIPS, arXiv:2106.02953).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from data_loaders.search_humans import load_human_rt, load_published_asymmetry
from neurovis.core.checks import check_option, check_path, check_whole
from neurovis.core.device import deterministic, resolve
from neurovis.core.files import check_writable_folder, read_table, write_table
from neurovis.core.observers import Searcher
from neurovis.core.pictures import write_png
from neurovis.core.provenance import collect
from neurovis.core.store import Store
from neurovis.core.types import Provenance, Score
from stimuli.diets import DIETS, feed
from stimuli.search_arrays import make_search_arrays
from stimuli.search_conditions import SEARCH_CONDITIONS
from tasks.backbone_pictures import (
    GrowthPictures,
    check_growth_folder,
    load_growth_pictures,
    reduce_picture,
)
from tasks.backbone_recipe import BackboneRecipe
from tasks.diet_networks import (
    diet_recipe,
    network_table,
    run_notes,
    train_networks,
    untrained_weights,
)
from tasks.diet_scores import TASK, diet_scores
from tasks.diet_verdicts import UNTRAINED
from tasks.models import ModelSpec
from tasks.runs import (
    SCORE_FILES,
    begin_run,
    check_same_run,
    load_scores,
    model_fingerprints,
    save_run,
)
from tasks.search_asymmetry import run_searches

BASELINES = ("chance", "pixel-match", "saliency")
"""Observers without a network that can search beside."""

_TABLES = (
    "trials.parquet",
    "fixations.parquet",
    "networks.parquet",
    "curves.parquet",
)
_EXAMPLE_PX = 192


@dataclass(frozen=True, eq=False)
class DietRun:
    """What a run left in its folder.

    Parameters
    ----------
    folder : Path
        Where it lies.
    trials, fixations : DataFrame
        Searches of all observers.
    networks : DataFrame
        One row per trained network: `diet`, `seed`, `sha256`, `n_training`,
        `n_validation`, `n_epochs`, `val_loss`, `val_accuracy`, `chance`, `device`.
    curves : DataFrame
        Learning curves with `diet` and `seed`.
    score : Score
        Scores, see `tasks.diet_scores.diet_scores`.
    """

    folder: Path
    trials: pd.DataFrame
    fixations: pd.DataFrame
    networks: pd.DataFrame
    curves: pd.DataFrame
    score: Score

    @property
    def provenance(self) -> Provenance:
        """How it came about."""
        return self.score.provenance

    @property
    def diets(self) -> list[str]:
        """Diets in the order of all tables and figures."""
        return [str(diet) for diet in self.provenance.call["diets"]]


def run_diet(
    images: str | Path,
    out: str | Path = "results/diet",
    *,
    diets: Sequence[str] = DIETS,
    n_seeds: int = 3,
    recipe: BackboneRecipe | None = None,
    conditions: str | Sequence[str] = "all",
    trials: int | None = 10,
    seed: int = 0,
    device: str = "auto",
    untrained: bool = True,
    baselines: Sequence[str] = BASELINES,
    n_bootstrap: int = 2000,
    training_folder: str | Path | None = None,
    name: str = "",
    licence: str = "",
    synthetic: bool = False,
) -> Score:
    """Train networks on diets and let them search.

    Interrupted, it resumes when called again and ends with identical tables.

    Parameters
    ----------
    images : str or Path
        Folder of pictures; for a recipe with labels, what
        `data_loaders.class_folders.open_class_folder` takes.
    out : str or Path
        Folder for networks and tables.
    diets : sequence of str, default all of `stimuli.diets.DIETS`
        What the networks are fed. "natural" is what the others are compared with.
    n_seeds : int, default 3
        Networks per diet; their seeds are 0, 1, ... whatever `seed` is, and networks
        of one seed start from equal weights.
    recipe : BackboneRecipe, optional
        How to train; `diet_recipe` by default.
    conditions : str or sequence of str, default "all"
        Search conditions, both of each experiment.
    trials : int or None, default 10
        Displays per condition and set size; None: the published numbers.
    seed : int, default 0
        Seed of displays, observers and resamples.
    device : str, default "auto"
        Where networks are trained and search.
    untrained : bool, default True
        Let the networks search before training too: the control.
    baselines : sequence of str, default `BASELINES`
        Further observers.
    n_bootstrap : int, default 2000
        Resamples for intervals, >= 2.
    training_folder : str or Path, optional
        Folder of the networks, ``DIET-seedN`` each; ``networks`` in `out` by default.
        Networks that are finished there are taken as they are; one that another
        process is training is waited for.
    name : str, optional
        What the pictures are called in notes; the name of the folder by default.
    licence : str, optional
        Terms of the pictures, for the cards of the networks.
    synthetic : bool, default False
        Whether the pictures are made by a program: said in tables and figures.

    Returns
    -------
    Score
        Table of `tasks.diet_scores.diet_scores`;
        `tasks.diet_verdicts.conclusions` puts it in words.

    Raises
    ------
    TypeError, ValueError
        If an argument is wrong, pictures are too few, or `out` or `training_folder`
        hold something else.
    FileNotFoundError, DataCorruptError
        If pictures are missing or damaged.
    PermissionError, FileExistsError, NotADirectoryError
        If a folder cannot be written.

    Notes
    -----
    `out` gets ``networks/DIET-seedN``, ``networks.parquet``, ``curves.parquet``,
    ``examples/DIET.png`` (one picture as each diet shows it), ``trials.parquet``,
    ``fixations.parquet``, ``scores.parquet``, ``provenance.json`` and kept parts.

    The published networks were VGG16 that learnt to name the classes of ImageNet or a
    part of it, so this is no replication at scale.

    References
    ----------
    Gupta, Zhang, Wu, Wolfe and Kreiman (2021). Visual search asymmetry: deep nets and
    humans share similar inherent biases. NeurIPS 34. arXiv:2106.02953.
    """
    recipe = diet_recipe() if recipe is None else recipe
    diets = _check_names("diets", diets, DIETS)
    baselines = _check_names("baselines", baselines, BASELINES, least=0)
    check_whole("n_seeds", n_seeds, low=1)
    check_whole("n_bootstrap", n_bootstrap, low=2)
    check_whole("seed", seed, low=0)
    place = resolve(device)
    if recipe.objective == "distil":
        raise ValueError(
            "`recipe` must be 'selfsup' or 'supervised': a teacher has a diet of its "
            "own."
        )
    seeds = range(n_seeds)
    controls = [untrained_weights(recipe.widths, k) for k in seeds] if untrained else []
    _check_pairs(conditions)
    displays = make_search_arrays(conditions, trials=trials, seed=seed)
    home = Path(out) / "networks" if training_folder is None else Path(training_folder)
    root = check_growth_folder(images, out=Path(out), training_folder=home)
    name = name or root.stem
    arguments: dict[str, Any] = {
        "task": TASK,
        "images": str(root),
        "name": name,
        "diets": list(diets),
        "n_seeds": n_seeds,
        "recipe": recipe.parameters,
        "conditions": conditions if isinstance(conditions, str) else list(conditions),
        "trials": trials,
        "seed": seed,
        "untrained": bool(untrained),
        "baselines": list(baselines),
        "n_bootstrap": n_bootstrap,
        "training_folder": None if training_folder is None else str(home.resolve()),
        "licence": licence,
        "synthetic": bool(synthetic),
    }
    check_same_run(out, arguments)
    labelled = recipe.objective == "supervised"
    pictures = load_growth_pictures(root, labelled=labelled, short_px=recipe.short_px)
    folder = begin_run(out, arguments)
    check_writable_folder(home)
    _save_examples(folder, pictures, diets)
    source = pictures.fingerprint
    del pictures  # every training reads its own
    networks = train_networks(
        root,
        home,
        diets,
        seeds,
        source=source,
        recipe=recipe,
        name=name,
        licence=licence,
        device=str(place),
    )
    write_table(folder / "networks.parquet", network_table(networks))
    curves = [n.curves.assign(diet=n.diet, seed=n.seed) for n in networks]
    write_table(folder / "curves.parquet", pd.concat(curves, ignore_index=True))
    specs = [_spec(str(n.weights), n.name) for n in networks]
    specs += [_spec(w, f"{UNTRAINED} seed {k}") for k, w in enumerate(controls)]
    specs += [ModelSpec(baseline) for baseline in baselines]
    searchers: list[Searcher] = [spec.load(device) for spec in specs]
    with deterministic():
        responses = run_searches(
            searchers, displays, seed=seed, store=Store(folder / "parts")
        )
    roles = [(n.diet, n.seed) for n in networks]
    roles += [(UNTRAINED, k) for k in range(len(controls))]
    table = _with_roles(responses.table, [s.name for s in searchers], roles)
    human = load_human_rt()
    scores = diet_scores(
        table,
        human[human["experiment"].isin(table["experiment"])],
        load_published_asymmetry(),
        stimuli=f"{displays.name}:{displays.fingerprint[:12]}",
        n_bootstrap=n_bootstrap,
        seed=seed,
    )
    provenance = collect(
        seed,
        place,
        fingerprints={
            "stimuli": displays.fingerprint,
            "pictures": source,
            **{f"weights {n.name}": str(n.card["sha256"]) for n in networks},
            **model_fingerprints(searchers),
        },
        call=arguments,
        notes=run_notes(networks, recipe, name, bool(controls), synthetic),
    )
    score = Score(scores, provenance)
    save_run(folder, trials=table, score=score, fixations=responses.scanpaths)
    return score


def _check_names(
    name: str, value: Sequence[str], allowed: tuple[str, ...], *, least: int = 1
) -> tuple[str, ...]:
    if isinstance(value, str):
        raise TypeError(f"`{name}` must be a list of names; got the text {value!r}.")
    for one in value:
        check_option(name, one, allowed)
    if len(value) < least or len(set(value)) < len(value):
        raise ValueError(
            f"`{name}` must be {'one or more ' if least else ''}distinct names of "
            f"{', '.join(allowed)}; got {list(value)}."
        )
    return tuple(value)


def _check_pairs(conditions: str | Sequence[str]) -> None:
    """Raise unless both conditions of each experiment are there."""
    if conditions == "all":
        return
    names = [conditions] if isinstance(conditions, str) else list(conditions)
    for name in names:
        check_option("conditions", name, tuple(SEARCH_CONDITIONS))
    for name in names:
        number = SEARCH_CONDITIONS[name].experiment
        pair = [k for k, c in SEARCH_CONDITIONS.items() if c.experiment == number]
        missing = [k for k in pair if k not in names]
        if missing:
            raise ValueError(
                f"`conditions` has {name!r} without {missing[0]!r}: an index needs "
                f"both conditions of experiment {number}."
            )


def _spec(weights: str, label: str) -> ModelSpec:
    return ModelSpec("eccnet", label, backbone="compact_vgg", weights=weights)


def _save_examples(
    folder: Path, pictures: GrowthPictures, diets: Sequence[str]
) -> None:
    """Keep one picture as each diet shows it."""
    shown = pictures.training[0].permute(1, 2, 0).numpy()
    for diet in diets:
        path = folder / "examples" / f"{diet}.png"
        if not path.is_file():
            path.parent.mkdir(exist_ok=True)
            eaten = feed(np.ascontiguousarray(shown), diet, key="example")
            write_png(path, reduce_picture(eaten, _EXAMPLE_PX))


def _with_roles(
    trials: pd.DataFrame, names: Sequence[str], roles: Sequence[tuple[str, int]]
) -> pd.DataFrame:
    """Add diet and seed of the networks, which come first among the observers."""
    known = dict(zip(names, roles, strict=False))
    diet = [known.get(name, ("", None))[0] for name in trials["subject"]]
    seed = [known.get(name, ("", None))[1] for name in trials["subject"]]
    table = trials.assign(diet=diet, seed=pd.array(seed, dtype="Int64"))
    return table.assign(untrained=table["diet"] == UNTRAINED)


def load_diet_run(folder: str | Path) -> DietRun:
    """Read the tables of a finished run.

    Parameters
    ----------
    folder : str or Path
        Folder of the run.

    Returns
    -------
    DietRun
        Its tables.

    Raises
    ------
    FileNotFoundError
        If the folder holds no finished run.
    DataCorruptError
        If one of its files is damaged.
    ValueError
        If it holds a run of another experiment.
    """
    path = check_path("results", folder, kind="folder")
    score = load_scores(path, (*_TABLES, *SCORE_FILES), TASK)
    trials, fixations, networks, curves = (read_table(path / name) for name in _TABLES)
    return DietRun(path, trials, fixations, networks, curves, score)
