"""Free viewing: where people look in pictures, and which maps predict it.

Every model maps every picture. The maps are scored with the fixations of people,
beside people themselves (each observer predicted from the others), the centre bias of
other pictures, and chance.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

import analysis.free_viewing
from analysis.fixated_pixels import fixated_pixels
from analysis.free_viewing import (
    CALIBRATED,
    CENTRE_BIAS,
    JOINT_MODEL,
    METRICS,
    OPTIONAL_METRICS,
    UNITS,
    FreeViewing,
    free_viewing_scores,
    make_free_viewing,
    score_map,
    score_people,
)
from analysis.map_calibration import (
    bin_statistics,
    calibrated_gains,
    fit_calibrations,
    picture_folds,
)
from data_loaders.gaze import GazeData
from data_loaders.osie import load_osie
from neurovis.adapters.saliency_maps import MAP_MODELS, load_map_model
from neurovis.core.checks import check_array, check_between, check_option, check_whole
from neurovis.core.files import (
    sha256_bytes,
    sha256_file,
    sha256_json,
    write_table,
)
from neurovis.core.log import progress
from neurovis.core.pictures import read_image
from neurovis.core.provenance import code_fingerprint
from neurovis.core.store import Store
from neurovis.core.types import (
    HUMAN_MODEL,
    SCORE_COLUMNS,
    Score,
)
from tasks.models import check_names
from tasks.runs import begin_run, is_untrained, run_provenance, save_run

TASK = "free-viewing"
# Pictures that are computed and kept together: the most an interruption costs.
PICTURES_PER_BLOCK = 10
# Modules that the kept values depend on, besides the models.
_MEASURES = (
    "fixated_pixels",
    "fixation_auc",
    "fixation_density",
    "fixation_maps",
    "free_viewing",
    "map_calibration",
)

Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class ViewedPictures:
    """Pictures of a run with where people looked.

    Parameters
    ----------
    viewing : FreeViewing
        Fixations on all pictures of the data set, with folds and centre biases.
    rows : ndarray of int64, shape (n_pictures,)
        Groups of `viewing.human` that are scored.
    names : tuple of str
        Their identities.
    paths : tuple of Path
        Their files.
    fingerprint : str
        Content hash of fixations, folds and kernel.
    notes : tuple of str
        What a reader must know.
    """

    viewing: FreeViewing
    rows: NDArray[np.int64]
    names: tuple[str, ...]
    paths: tuple[Path, ...]
    fingerprint: str
    notes: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.rows)

    def load(self, index: int) -> NDArray[np.uint8]:
        """Read one picture.

        Parameters
        ----------
        index : int
            0-based place in the run.

        Returns
        -------
        ndarray of uint8, shape (H, W, 3)
            The picture.

        Raises
        ------
        ValueError
            If it has another size than the frame of the fixations.
        """
        image = read_image(self.paths[index])
        size = self.viewing.human.shape
        if image.shape[:2] != size:
            raise ValueError(
                f"{self.paths[index]} has {image.shape[1]} x {image.shape[0]} pixels "
                f"but its fixations are pixels of {size[1]} x {size[0]}: put the "
                "published picture there."
            )
        return image


def run_free_viewing(
    models: Sequence[Any],
    data: str | Path,
    out: str | Path,
    *,
    images: int | str | None = None,
    sigma_px: float = 24.0,
    optional_metrics: Sequence[str] = (),
    seed: int = 0,
    n_bootstrap: int = 1000,
) -> Score:
    """Run the experiment and leave tables in a folder.

    Interrupted, it resumes when called again and ends with identical tables.

    Parameters
    ----------
    models : sequence of str or object
        Names of `neurovis.adapters.saliency_maps.MAP_MODELS`, or objects with `name`,
        `notes`, `identity` and ``saliency(image) -> (H, W)``. Chance is added when it
        is not among them.
    data : str or Path
        Folder of OSIE with its pictures, see `data_loaders.osie.load_osie`.
    out : str or Path
        Folder for ``trials.parquet`` (one row per model and picture),
        ``calibration.parquet``, ``scores.parquet``, ``provenance.json`` and the kept
        parts of the run.
    images : int or "test70", optional
        Score so many pictures, spread evenly over the set, or the 70 test pictures
        of Chen et al. (2021); all by default. The centre bias and the negatives of
        the shuffled AUC come from all pictures anyway.
    sigma_px : float, default 24
        Kernel of densities of people in pixels, about 1 degree.
    optional_metrics : sequence of {"auc_judd", "auc_borji"}
        Measures to add.
    seed : int, default 0
        Seed of folds, split halves, draws and bootstrap.
    n_bootstrap : int, default 1000
        Bootstrap samples of intervals.

    Returns
    -------
    Score
        Scores of every model, the centre bias, chance and people.

    Raises
    ------
    ValueError
        If an argument is wrong, or `out` holds a run with other arguments.
    FileNotFoundError, DataCorruptError
        If the data are missing or damaged.
    PermissionError, FileExistsError, NotADirectoryError
        If `out` cannot be written.
    """
    observers = _observers(models)
    check_whole("n_bootstrap", n_bootstrap, low=0)
    check_whole("seed", seed, low=0)
    for name in optional_metrics:
        check_option("optional_metrics", name, OPTIONAL_METRICS)
    metrics = [m for m in UNITS if m in (*METRICS, *optional_metrics)]
    arguments = {
        "task": TASK,
        "models": [{"name": o.name, "identity": dict(o.identity)} for o in observers],
        "data": str(Path(data).resolve()),
        "images": images,
        "sigma_px": float(sigma_px),
        "optional_metrics": sorted(optional_metrics),
        "seed": seed,
        "n_bootstrap": n_bootstrap,
    }
    pictures = load_viewed_pictures(data, images=images, sigma_px=sigma_px, seed=seed)
    folder = begin_run(out, arguments)
    marks = [sha256_file(path) for path in pictures.paths]
    kept = _score_blocks(
        observers, pictures, marks, metrics, seed, Store(folder / "parts")
    )
    trials, calibration = _tables(observers, pictures, metrics, kept)
    fingerprint = sha256_json([pictures.fingerprint, marks])
    table = free_viewing_scores(trials, seed=seed, n_bootstrap=n_bootstrap)
    table = table.assign(task=TASK, stimuli=f"osie:{fingerprint[:12]}")
    untrained = {o.name: is_untrained(o) for o in observers}
    table["untrained"] = [untrained.get(name, False) for name in table["model"]]
    provenance = run_provenance(
        observers,
        arguments,
        dtype="float64",
        fingerprints={
            "pictures": sha256_json(marks),
            "fixations": pictures.fingerprint,
        },
        notes=pictures.notes,
    )
    more = [c for c in table.columns if c not in SCORE_COLUMNS]
    score = Score(table[[*SCORE_COLUMNS, *more]], provenance)
    write_table(folder / "calibration.parquet", calibration)
    save_run(folder, trials=trials, score=score, fixations=None)
    return score


def _observers(models: Sequence[Any]) -> list[Any]:
    """Build the models, chance among them, with names of their own."""
    if isinstance(models, str) or not len(models):
        raise ValueError(
            f"`models` must be a list with at least one model; got {models!r}."
        )
    for model in models:
        if isinstance(model, str):
            check_option("models", model, tuple(MAP_MODELS))
    observers = [load_map_model(m) if isinstance(m, str) else m for m in models]
    if not any(dict(o.identity) == {"observer": "chance"} for o in observers):
        observers.append(load_map_model("chance"))
    check_names(observers)
    for name in (JOINT_MODEL, CENTRE_BIAS):
        if name in [o.name for o in observers]:
            raise ValueError(
                f"A model cannot be called {name!r}, which is a row of the tables: "
                "give it another `label`."
            )
    return observers


def load_viewed_pictures(
    data: str | Path,
    *,
    images: int | str | None = None,
    sigma_px: float = 24.0,
    seed: int = 0,
) -> ViewedPictures:
    """Read fixations, choose pictures, and fit the centre bias of each fold.

    Parameters
    ----------
    data : str or Path
        Folder of OSIE.
    images : int or "test70", optional
        As in `run_free_viewing`.
    sigma_px : float, default 24
        Kernel of densities of people in pixels.
    seed : int, default 0
        Seed of the folds.

    Returns
    -------
    ViewedPictures
        What is scored.

    Raises
    ------
    ValueError
        If an argument is wrong, or the pictures differ in size.
    FileNotFoundError, DataCorruptError
        If the data or a picture are missing, or damaged.
    """
    check_between("sigma_px", sigma_px, low=1e-3)
    gaze = load_osie(data)
    stimuli = gaze.stimuli
    rows = _chosen(gaze, images)
    sizes = stimuli[["height_px", "width_px"]].drop_duplicates()
    if len(sizes) > 1:
        raise ValueError(
            f"The pictures in {data} must have one size, that of the centre bias; they "
            f"have {len(sizes)}."
        )
    lost = stimuli["stimulus_id"].iloc[rows][stimuli["path"].iloc[rows].isna()]
    if len(lost):
        raise FileNotFoundError(
            f"{len(lost)} pictures are not in {Path(data) / 'stimuli'}, the first is "
            f"{lost.iloc[0]}: get the pictures of the data set too."
        )
    place = {name: i for i, name in enumerate(stimuli["stimulus_id"])}
    fixations = gaze.fixations
    observer, _ = pd.factorize(fixations["subject"], sort=True)
    height, width = (round(v) for v in sizes.iloc[0])
    human = fixated_pixels(
        fixations["x_px"],
        fixations["y_px"],
        (height, width),
        map_index=fixations["stimulus_id"].map(place).to_numpy(np.int64),
        n_maps=len(stimuli),
    )
    folds = picture_folds(len(stimuli), first=rows.tolist(), seed=seed)
    viewing = make_free_viewing(human, observer[human.source], folds, sigma_px=sigma_px)
    content = [human.map_index, human.flat, viewing.observer, folds]
    fingerprint = sha256_json(
        [
            *(sha256_bytes(part.tobytes()) for part in content),
            list(human.shape),
            float(sigma_px),
        ]
    )
    widths = ", ".join(f"{s:g}" for s in np.unique(viewing.centre_sigma_px))
    notes = (
        *gaze.notes,
        f"Densities of people have a kernel of {sigma_px:g} px. One degree of OSIE is "
        "taken as about 24 px, which the files do not tell.",
        f"The centre bias has a kernel of {widths} px, chosen on other folds.",
    )
    return ViewedPictures(
        viewing,
        rows,
        tuple(stimuli["stimulus_id"].iloc[rows]),
        tuple(Path(path) for path in stimuli["path"].iloc[rows]),
        fingerprint,
        notes,
    )


def _chosen(gaze: GazeData, images: int | str | None) -> NDArray[np.int64]:
    """Rows of the pictures that are asked for."""
    n = len(gaze.stimuli)
    if images is None:
        return np.arange(n)
    if isinstance(images, str):
        check_option("images", images, ("test70",))
        is_test = gaze.stimuli["test_split70"].fillna(False).to_numpy(bool)
        if not is_test.any():
            raise ValueError(
                '`images="test70"` needs the column `test_split70` of images.csv; this '
                "folder has none. Give a number of pictures instead."
            )
        return np.flatnonzero(is_test)
    check_between("images", images, low=1, high=n)
    return np.arange(int(images)) * n // int(images)


def _score_blocks(
    observers: Sequence[Any],
    pictures: ViewedPictures,
    marks: Sequence[str],
    metrics: Sequence[str],
    seed: int,
    store: Store,
) -> dict[str, Arrays]:
    """Score every model and people on all pictures, block by block, or read it."""
    code = _code()
    jobs = [(o.name, dict(o.identity)) for o in observers]
    jobs += [(CENTRE_BIAS, {"observer": CENTRE_BIAS}), (HUMAN_MODEL, {"observer": "-"})]
    found: dict[str, list[Arrays]] = {name: [] for name, _ in jobs}
    by_name = {o.name: o for o in observers}
    with progress(len(pictures) * len(jobs), "scoring", unit="map") as bar:
        for start in range(0, len(pictures), PICTURES_PER_BLOCK):
            block = range(start, min(start + PICTURES_PER_BLOCK, len(pictures)))
            load = cache(pictures.load)  # the models of a block share its pictures
            for name, identity in jobs:
                parts = {
                    "task": TASK,
                    "code": code,
                    "observer": identity,
                    "pictures": [[pictures.names[i], marks[i]] for i in block],
                    "fixations": pictures.fingerprint,
                    "metrics": list(metrics),
                    "seed": seed,
                }

                def compute(
                    block: range = block, name: str = name, load: Any = load
                ) -> Arrays:
                    if name == HUMAN_MODEL:
                        return _people(pictures, block, seed)
                    model = by_name.get(name)
                    return _maps(pictures, block, model, load, metrics, seed)

                found[name].append(store.get_or_compute(parts, compute))
                bar.update(len(block))
    return {
        name: {key: np.concatenate([b[key] for b in blocks]) for key in blocks[0]}
        for name, blocks in found.items()
    }


def _code() -> str:
    """Hash of all code that kept values depend on."""
    folder = Path(analysis.free_viewing.__file__).parent
    return sha256_json(
        [code_fingerprint(), *(sha256_file(folder / f"{m}.py") for m in _MEASURES)]
    )


def _maps(
    pictures: ViewedPictures,
    block: range,
    model: Any,
    load: Callable[[int], NDArray[np.uint8]],
    metrics: Sequence[str],
    seed: int,
) -> Arrays:
    """Scores and bins of one model, or of the centre bias without one."""
    viewing = pictures.viewing
    values, counts, masses = [], [], []
    for index in block:
        row = int(pictures.rows[index])
        name = pictures.names[index]
        saliency = viewing.bias_of(row)
        if model is not None:
            made = np.asarray(model.saliency(load(index)), np.float64)
            what = f"map of {model.name} for {name}"
            saliency = check_array(what, made, shape=viewing.human.shape)
        scores = score_map(viewing, row, saliency, metrics=metrics, seed=seed, key=name)
        values.append([scores.get(m, np.nan) for m in metrics])
        own = viewing.human.select([row])
        n, mass = bin_statistics(saliency, own, viewing.centre_bias)
        counts.append(n)
        masses.append(mass)
    arrays = (np.array(values, np.float64), np.array(counts), np.array(masses))
    return dict(zip(("values", "counts", "masses"), arrays, strict=True))


def _people(pictures: ViewedPictures, block: range, seed: int) -> Arrays:
    """Scores of people by others, and by densities with their own fixations."""
    both: list[list[list[float]]] = [[], []]
    for index in block:
        row, name = int(pictures.rows[index]), pictures.names[index]
        scores = score_people(pictures.viewing, row, seed=seed, key=name)
        for side, part in zip(both, scores, strict=True):
            side.append([part.get(m, np.nan) for m in METRICS])
    return {"low": np.array(both[0]), "high": np.array(both[1])}


def _tables(
    observers: Sequence[Any],
    pictures: ViewedPictures,
    metrics: Sequence[str],
    kept: dict[str, Arrays],
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return one row per model and picture, and the weights of calibration."""
    rows = pictures.rows
    fold = pictures.viewing.fold[rows]
    untrained = {o.name: is_untrained(o) for o in observers}
    base = pd.DataFrame(
        {
            "stimulus_id": pictures.names,
            "trial": np.arange(len(rows)),
            "fold": fold,
            "n_fixations": pictures.viewing.human.n_fixations[rows],
        }
    )
    trials, weights = [], []
    for name, arrays in kept.items():
        if name == HUMAN_MODEL:
            sides = ((HUMAN_MODEL, arrays["low"]), (JOINT_MODEL, arrays["high"]))
            tables = [(n, pd.DataFrame(v, columns=list(METRICS))) for n, v in sides]
        else:
            statistics = (arrays["counts"], arrays["masses"], fold)
            fitted = fit_calibrations(*statistics)
            table = pd.DataFrame(arrays["values"], columns=list(metrics))
            table[CALIBRATED] = calibrated_gains(*statistics, fitted)
            tables = [(name, table)]
            k, b = np.indices(fitted.shape).reshape(2, -1)
            columns = {"model": name, "fold": k, "bin": b, "weight": fitted.ravel()}
            weights.append(pd.DataFrame(columns))
        for own, table in tables:
            named = base.assign(
                model=own, subject=own, untrained=untrained.get(own, False)
            )
            trials.append(
                pd.concat([named, table.reindex(columns=list(metrics))], axis=1)
            )
    first = ["model", "subject", "stimulus_id", "trial"]
    table = pd.concat(trials, ignore_index=True)
    table = table[[*first, *(c for c in table.columns if c not in first)]]
    return table, pd.concat(weights, ignore_index=True)
