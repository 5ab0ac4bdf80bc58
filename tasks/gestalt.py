"""The Gestalt battery: perceptual organisation in the layers of networks.

Illusory contours and surfaces, grouping, closure, contours of patches, and what is
figure. Each measure stands beside what people do, as a direction.
"""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd

from neurovis.core.checks import check_between, check_whole
from neurovis.core.device import deterministic, resolve
from neurovis.core.files import plain, sha256_json, write_table
from neurovis.core.log import progress
from neurovis.core.provenance import code_fingerprint, collect
from neurovis.core.store import Store
from neurovis.core.types import Score
from tasks.feature_specs import FeatureSpec
from tasks.gestalt_measures import TESTS, check_tests
from tasks.gestalt_reading import BatterySize, Observer, observe
from tasks.gestalt_tables import (
    gestalt_tables,
    people_scores,
    read_people,
    score_frame,
)
from tasks.picture_features import picture_models
from tasks.runs import begin_run, check_same_run

TASK = "gestalt"

VERSION = 1
"""Raised when the same call gives other numbers."""

NOTES = (
    "Numbers of people are recalled from the literature and stand as directions, never "
    "as limits.",
    "No choice counts as wrong, and as chance where a direction is judged.",
    "Intervals are over displays, which share places and sizes: they tell how certain "
    "a number is for such displays, and are too narrow for others.",
    "Readouts are trained on other pictures than they are tested on; their penalty is "
    "chosen by cross-validation within the training pictures.",
)


def run_gestalt(
    out: str | Path,
    *,
    models: str | Sequence[str | FeatureSpec] = "default",
    tests: str | Sequence[str] = "all",
    people: str | Path | pd.DataFrame | None = None,
    n_displays: int = 6,
    contour_grid: int = 8,
    px_per_deg: float = 32.0,
    top_k: Sequence[float] = (0.1,),
    n_permutations: int = 1000,
    n_bootstrap: int = 1000,
    resize: str | None = "squash",
    seed: int = 0,
    device: str = "auto",
) -> Score:
    """Show the battery to models and leave tables in a folder.

    Interrupted, it resumes when called again and ends with identical tables.

    Parameters
    ----------
    out : str or Path
        Folder for the tables and the kept parts of the run.
    models : str or sequence of str or FeatureSpec, default "default"
        Networks and controls with their layers, see
        `tasks.picture_features.picture_models`: by default the network that comes with
        weights, the same untrained, and small pictures. Layers must have places.
    tests : str or sequence of str, default "all"
        Of `tasks.gestalt_measures.TESTS`.
    people : str, Path or DataFrame, optional
        Trials of people, to stand beside: `subject`, `test`, `condition`, `level` and
        `correct` (0 or 1; in preferences 1 for what `truth` names).
    n_displays : int, default 6
        Pictures, or pairs, of each condition, at least 2.
    contour_grid : int, default 8
        Cells to a side of fields of Gabor patches; three quarters of it are the path.
        The published fields have 16; a network that sees 128 px has 4 px to a
        wavelength with 8 cells, and 2 with 16.
    px_per_deg : float, default 32
        Pixels per degree of pictures of 7 degrees.
    top_k : sequence of float, default (0.1,)
        Shares of the activations of each token that are kept, for the index of illusory
        contours on sparse tokens; empty for none.
    n_permutations : int, default 1000
        Exchanges of places, for fill-in.
    n_bootstrap : int, default 1000
        Resamples of displays.
    resize : str or None, default "squash"
        How pictures come to the size of a network's input.
    seed : int, default 0
        Seed of all draws.
    device : str, default "auto"
        Where networks compute.

    Returns
    -------
    Score
        The table of ``scores.parquet``: metrics "ic_index", "ic_index_slope" (per unit
        of support ratio), "fill_in_index", "accuracy", "threshold_deg" (tilt at 75 %),
        "chose_nearer", "attraction_s", "attraction_s_of_choices", "similarity_shift",
        "cost_per_item", "accuracy_slope" (per degree), "chose_convex", "convex_slope"
        (per region) and "chose_lower". Beside `SCORE_COLUMNS`: `test`, `kind`
        ("network", "control" or "people"), `untrained`, `level` (NaN for all levels),
        `chance` and `p_value`.

    Raises
    ------
    TypeError, ValueError
        If an argument is wrong, a layer has no places, or `out` holds a run with other
        arguments.
    FileNotFoundError, DataCorruptError, MissingDependencyError
        If weights or the table of people are missing or damaged.
    PermissionError, FileExistsError, NotADirectoryError
        If `out` cannot be written.

    Notes
    -----
    The folder gets ``trials.parquet``, ``directions.parquet`` and ``scores.parquet``
    with ``provenance.json``. On defaults it takes less than a minute on one core.

    References
    ----------
    Wagemans et al. (2012). Psychol. Bull. 138, 1172-1217. doi:10.1037/a0029333
    """
    names = check_tests(tests)
    place = resolve(device)
    check_whole("n_bootstrap", n_bootstrap, low=1)
    for share in top_k:
        check_between("top_k", share, low=1e-6, high=1)
    check_between("px_per_deg", px_per_deg, low=8)
    size = BatterySize(
        check_whole("n_displays", n_displays, low=2),
        float(px_per_deg),
        check_whole("contour_grid", contour_grid, low=6, high=32),
        check_whole("n_permutations", n_permutations, low=1),
        tuple(float(share) for share in top_k),
        check_whole("seed", seed, low=0),
    )
    asked = [models] if isinstance(models, str) else models
    seen = None if people is None else read_people(people)
    loaded = picture_models(asked, resize=resize)
    observers = [observe(model, str(place)) for model in loaded]
    marks = {f"model {one.title}": sha256_json(plain(one.identity)) for one in loaded}
    if seen is not None:
        marks["people"] = sha256_json(seen.astype(str).to_dict("list"))
    arguments = plain(
        {
            "task": TASK,
            "models": marks,
            "tests": names,
            "size": asdict(size),
            "n_bootstrap": n_bootstrap,
            "seed": seed,
        }
    )
    check_same_run(out, arguments)
    folder = begin_run(out, arguments)
    designs = {
        name: sha256_json([VERSION, name, plain(asdict(size))]) for name in names
    }
    store = Store(folder / "parts")
    with deterministic():
        parts = [
            part
            for name in progress(names, "gestalt tests")
            for part in _measured(name, observers, size, marks, store)
        ]
    trials = pd.concat(parts, ignore_index=True)
    stimuli = {name: f"gestalt-{name}:{mark[:12]}" for name, mark in designs.items()}
    table, directions = gestalt_tables(
        trials, stimuli=stimuli, n_bootstrap=n_bootstrap, seed=seed
    )
    if seen is not None:
        shown = score_frame(people_scores(seen), seed)
        table = pd.concat([table, shown], ignore_index=True)
    write_table(folder / "trials.parquet", trials)
    write_table(folder / "directions.parquet", directions)
    score = Score(
        table,
        collect(
            seed,
            device=place,
            fingerprints={
                **marks,
                **{f"stimuli {name}": mark for name, mark in designs.items()},
            },
            call=arguments,
            notes=[*(note for one in loaded for note in one.notes), *NOTES],
        ),
    )
    score.save(folder)
    return score


def _measured(
    name: str,
    observers: Sequence[Observer],
    size: BatterySize,
    marks: dict[str, str],
    store: Store,
) -> list[pd.DataFrame]:
    """Return the trials of a test; pictures are drawn when a part is missing."""
    test = TESTS[name]
    drawn: list[Any] = []
    parts = []
    for observer in observers:
        key = {
            "task": TASK,
            "version": VERSION,
            "code": code_fingerprint(),
            "test": name,
            "size": plain(asdict(size)),
            "model": [observer.model.title, marks[f"model {observer.model.title}"]],
        }

        def compute(observer: Observer = observer) -> pd.DataFrame:
            if not drawn:
                drawn.append(test.show(size))
            return test.measure(observer, drawn[0], size)

        parts.append(store.get_or_compute(key, compute))
    return parts
