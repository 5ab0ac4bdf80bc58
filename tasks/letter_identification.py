"""Letter identification: crowding and Navon figures read from the layers of models.

A linear readout learns single letters from the embeddings of a model, and is then shown
letters with flankers, or large letters made of small ones. It never sees a test picture
before. What it loses is lost by the representation and by the readout, which was not
trained to leave out what stands beside.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.linear_readout import fit_linear_readout
from neurovis.core.checks import check_between, check_option, check_whole
from neurovis.core.device import deterministic, resolve
from neurovis.core.files import sha256_json, write_table
from neurovis.core.provenance import code_fingerprint, collect
from neurovis.core.store import Store
from neurovis.core.types import Score
from stimuli.crowding import ARRANGEMENTS, VIEWS
from tasks.feature_specs import FeatureSpec
from tasks.letter_scores import letter_directions, letter_scores
from tasks.letter_sets import TESTS, LetterTest, letter_tests
from tasks.picture_features import PictureModel, embed, picture_models
from tasks.runs import begin_run, check_same_run

TASK = "letter-identification"

LETTER_MODELS = (
    "compact_vgg:stage3:grid4,stage5:grid4,stage5:gap",
    "untrained=compact_vgg@seeded:0:stage3:grid4,stage5:grid4,stage5:gap",
    "control:pixels:pixels:grid32",
)
"""The network that comes with weights, the same untrained, and the pictures."""

PENALTIES = (1.0, 10.0, 100.0)
"""Of readouts, to choose from by cross-validation."""

LEAST_SPREAD = 0.1
"""Features whose standard deviation over the training pictures is less, in parts of the
largest one, are left out."""

_KEPT = (
    *("arrangement", "spacing_deg", "eccentricity_deg", "height_deg", "view"),
    *("flankers", "global_letter", "local_letter", "contrast"),
)


def run_letter_identification(
    out: str | Path,
    *,
    models: str | Sequence[str | FeatureSpec] = "default",
    tests: Sequence[str] = TESTS,
    arrangements: Sequence[str] = ("inner", "outer", "radial", "tangential"),
    spacings_deg: Sequence[float] = (0.65, 0.9, 1.2, 1.7),
    eccentricity_deg: float = 5.0,
    height_deg: float = 0.6,
    view: str = "target",
    n_train: int = 10,
    n_test: int = 2,
    px_per_deg: float = 32.0,
    resize: str | None = "squash",
    store: str | Path | None = None,
    n_bootstrap: int = 1000,
    seed: int = 0,
    device: str = "auto",
) -> Score:
    """Run the experiment and leave tables in a folder.

    Interrupted, it resumes when called again and ends with identical tables.

    Parameters
    ----------
    out : str or Path
        Folder for ``trials.parquet``, ``directions.parquet``, ``scores.parquet``,
        ``provenance.json`` and the kept parts of the run.
    models : str or sequence of str or FeatureSpec, default "default"
        Networks or controls with their layers, see
        `tasks.picture_features.picture_models`; "default" stands for
        `LETTER_MODELS`.
    tests : sequence of str, default ("crowding", "navon")
        Which tests.
    arrangements : sequence of str
        Of flankers: "inner", "outer", "radial", "tangential", "all".
    spacings_deg : sequence of float
        From the centre of the target to flankers.
    eccentricity_deg : float, default 5
        Of the target.
    height_deg : float, default 0.6
        Of the letters of crowding.
    view : {"target", "fixation"}
        What is in the middle of the pictures of crowding. With "target" they are a
        window on the periphery, for models that see equally well everywhere: the
        eccentricity then only tells which flanker is the outer one.
    n_train : int, default 10
        Training pictures of each letter, 5 or more.
    n_test : int, default 2
        Pictures of each letter, or pair of letters, in each condition.
    px_per_deg : float, default 32
        Pixels per degree.
    resize : str or None, default "squash"
        How pictures come to the size of the input, where models are text.
    store : str or Path, optional
        Folder where features are kept and found again; by default only answers are
        kept.
    n_bootstrap : int, default 1000
        Resamples of pictures for intervals.
    seed : int, default 0
        Seed of pictures, folds and resamples.
    device : str, default "auto"
        Where networks compute.

    Returns
    -------
    Score
        The table of ``scores.parquet``, see `tasks.letter_scores.letter_scores`.

    Raises
    ------
    TypeError, ValueError
        If an argument is wrong, or `out` holds a run with other arguments.
    FileNotFoundError, DataCorruptError, MissingDependencyError
        If weights are missing or damaged.
    PermissionError, FileExistsError, NotADirectoryError
        If `out` cannot be written.

    Notes
    -----
    The penalty of a readout is chosen by 5-fold cross-validation on its training
    pictures, and so is the layer of a model that figures show (`chosen`): the one with
    the smallest log loss. Features that single letters hardly change are left out
    (`LEAST_SPREAD`). `rt_or_cost` of a trial is 1 minus the difference of the two
    largest probabilities.
    """
    asked = [models] if isinstance(models, str) else list(models)
    if not tests or not arrangements or not spacings_deg:
        raise ValueError(
            "`tests`, `arrangements` and `spacings_deg` must name one thing or more."
        )
    for test in tests:
        check_option("tests", test, TESTS)
    for arrangement in arrangements:
        check_option("arrangements", arrangement, ARRANGEMENTS[1:])
    for spacing in spacings_deg:
        check_between("spacings_deg", spacing, low=height_deg)
    check_option("view", view, VIEWS)
    check_whole("n_train", n_train, low=5)
    check_whole("n_test", n_test, low=1)
    check_whole("n_bootstrap", n_bootstrap, low=0)
    check_whole("seed", seed, low=0)
    place = resolve(device)
    loaded = picture_models(
        [m for one in asked for m in (LETTER_MODELS if one == "default" else [one])],
        resize=resize,
    )
    arguments: dict[str, Any] = {
        "task": TASK,
        "models": {model.title: model.identity for model in loaded},
        "tests": list(tests),
        "arrangements": list(arrangements),
        "spacings_deg": [float(v) for v in spacings_deg],
        "eccentricity_deg": float(eccentricity_deg),
        "height_deg": float(height_deg),
        "view": view,
        "n_train": n_train,
        "n_test": n_test,
        "px_per_deg": float(px_per_deg),
        "n_bootstrap": n_bootstrap,
        "seed": seed,
    }
    check_same_run(out, arguments)
    sets = letter_tests(
        tests,
        arrangements=arrangements,
        spacings_deg=spacings_deg,
        eccentricity_deg=eccentricity_deg,
        height_deg=height_deg,
        view=view,
        n_train=n_train,
        n_test=n_test,
        px_per_deg=px_per_deg,
        seed=seed,
    )
    folder = begin_run(out, arguments)
    kept = Store(folder / "parts")
    with deterministic():
        answers = [
            _answers(model, one, kept, store, place, seed)
            for model in loaded
            for one in sets
        ]
    trials = _choose_layers(pd.concat(answers, ignore_index=True))
    trials.insert(0, "task", TASK)
    directions = letter_directions(trials, n_bootstrap=n_bootstrap, seed=seed)
    score = Score(
        letter_scores(trials, n_bootstrap=n_bootstrap, seed=seed),
        collect(
            seed,
            device=place,
            fingerprints=_fingerprints(sets, loaded),
            call=arguments,
            notes=_notes(loaded, tests, view),
        ),
    )
    write_table(folder / "trials.parquet", trials)
    write_table(folder / "directions.parquet", directions)
    score.save(folder)
    return score


def _answers(
    model: PictureModel,
    one: LetterTest,
    kept: Store,
    store: str | Path | None,
    device: Any,
    seed: int,
) -> pd.DataFrame:
    """Return what all layers of a model answer, from the store when it is there."""

    def compute() -> pd.DataFrame:
        train, shown = (
            embed(model, pictures, device=device, store=store)
            for pictures in (one.train.images, one.shown.images)
        )
        return pd.concat(
            [
                _layer_answers(layer, train[layer], shown[layer], one, seed)
                for layer in train
            ],
            ignore_index=True,
        )

    parts = {
        "task": TASK,
        "code": code_fingerprint(),
        "model": model.identity,
        "train": one.train.fingerprint,
        "shown": one.shown.fingerprint,
        "asked": one.asked,
        "penalties": list(PENALTIES),
        "least_spread": LEAST_SPREAD,
        "seed": seed,
    }
    table = kept.get_or_compute(parts, compute)
    return table.assign(model=model.title, kind=model.kind, untrained=model.untrained)


def _layer_answers(
    layer: str,
    train: NDArray[np.float32],
    shown: NDArray[np.float32],
    one: LetterTest,
    seed: int,
) -> pd.DataFrame:
    """Fit the readout of a layer and let it answer."""
    # Standardised, what single letters hardly change would drown all else as soon as
    # something stands there.
    spread = train.std(axis=0)
    varying = spread > LEAST_SPREAD * spread.max()
    readout = fit_linear_readout(
        train[:, varying], one.labels, penalties=PENALTIES, seed=seed
    )
    rows = np.flatnonzero(one.truth != "")
    sizes = readout.probabilities(shown[rows][:, varying])
    ordered = np.sort(sizes, axis=1)
    classes = np.array(readout.classes, np.str_)
    response, truth = classes[sizes.argmax(axis=1)], one.truth[rows]
    table = one.shown.table.iloc[rows].reset_index(drop=True)
    return pd.DataFrame(
        {
            "test": one.test,
            "layer": layer,
            "trial": np.arange(len(rows)),
            "stimulus_id": table["stimulus_id"],
            "condition": table["condition"],
            "asked": one.asked,
            **{name: table.get(name) for name in _KEPT},
            "truth": truth,
            "response": response,
            "correct": response == truth,
            "rt_or_cost": 1 - (ordered[:, -1] - ordered[:, -2]),
            "seed": seed,
            "penalty": readout.penalty,
            "cv_loss": readout.cv_loss,
        }
    )


def _choose_layers(trials: pd.DataFrame) -> pd.DataFrame:
    """Mark the layer of each model whose readouts did best on training pictures."""
    readouts = trials.drop_duplicates(["model", "test", "asked", "layer"])
    losses = readouts.groupby(["model", "test", "layer"], sort=False)["cv_loss"].sum()
    best = set(losses.groupby(["model", "test"], sort=False).idxmin())
    keys = zip(trials["model"], trials["test"], trials["layer"], strict=True)
    return trials.assign(chosen=[key in best for key in keys])


def _fingerprints(
    sets: Sequence[LetterTest], models: Sequence[PictureModel]
) -> dict[str, str]:
    marks = {}
    for one in sets:
        title = f"{one.test} {one.asked}".strip()
        marks[f"{title} train"] = one.train.fingerprint
        marks[f"{title} test"] = one.shown.fingerprint
    return marks | {f"model {m.title}": sha256_json(m.identity) for m in models}


def _notes(
    models: Sequence[PictureModel], tests: Sequence[str], view: str
) -> list[str]:
    notes = []
    for model in models:
        notes += [f"{model.title}: {note}" for note in model.notes]
        if model.kind == "control":
            notes.append(f"{model.title}: a baseline without learning")
    notes.append(
        "Readouts were trained on single letters and never on flanked or compound "
        "ones: losses are those of representation and readout together."
    )
    if "crowding" in tests and view == "target":
        notes.append(
            "Crowding: pictures are centred on the target. For a model that sees "
            "equally well everywhere, radial and tangential differ only in being "
            "horizontal and vertical, and inner and outer in being left and right."
        )
    if "crowding" in tests:
        notes.append(
            "What people do is recalled from the papers, not from data at hand."
        )
    return list(dict.fromkeys(notes))
