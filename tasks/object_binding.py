"""Object binding: do tokens tell which other tokens are of the same object.

References
----------
Li, Salehi, Ungar and Kording (2025). Does object binding naturally emerge in large
pretrained vision transformers? arXiv:2510.24709
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.pair_measures import PairCounts, count_pairs, resample_pictures
from neurovis.core.checks import check_between, check_option, check_path, check_whole
from neurovis.core.device import deterministic, resolve
from neurovis.core.files import plain, sha256_json, write_table
from neurovis.core.log import progress
from neurovis.core.provenance import code_fingerprint, collect
from neurovis.core.rng import generator
from neurovis.core.store import Store
from neurovis.core.types import SCORE_COLUMNS, Score
from neurovis.fitting.same_object import PROBES
from neurovis.fitting.same_object_fit import PairProbeSettings
from tasks.directions import directions_table
from tasks.feature_specs import FeatureSpec
from tasks.gestalt_reading import observe
from tasks.object_binding_data import (
    N_PATCHES,
    BoundScenes,
    Patches,
    draw_patches,
    folder_scenes,
    generated_scenes,
)
from tasks.object_binding_probes import (
    BASELINES,
    POINTWISE,
    SETTINGS,
    Arrays,
    baseline_logits,
    pick_tokens,
    probe_layer,
)
from tasks.object_binding_scores import (
    FAMILIES,
    PairGroups,
    baseline_rows,
    family_row,
    layer_rows,
    order_rows,
    sort_pairs,
    trial_rows,
)
from tasks.picture_features import PictureModel, picture_models, read_tokens
from tasks.runs import begin_run, check_same_run, save_run

TASK = "object-binding"

VERSION = 1
"""Raised when the same call gives other numbers."""

DEFAULT_MODELS = (
    "compact_vgg:stage4,stage5",
    "untrained=compact_vgg@seeded:0:stage5",
)
"""The network that comes with weights, and the same untrained."""

BASELINE = "baseline"
"""Model of the rows that see no network."""

NOTES = (
    "Tokens are divided by the standard deviation of each channel over the training "
    "pictures and not centred: the quadratic forms have no linear term.",
    "Pairs of a patch with itself count in `accuracy` only, as published; all other "
    "measures leave them out, also where a patch was drawn twice.",
    "Published results are recalled, and about networks of another size and natural "
    "pictures: directions, never limits.",
)


def run_object_binding(
    out: str | Path,
    *,
    models: str | Sequence[str | FeatureSpec] = DEFAULT_MODELS,
    data: str | Path | None = None,
    n_train: int = 32,
    n_test: int = 16,
    size_px: int = 224,
    n_patches: int = N_PATCHES,
    families: Mapping[str, str] | None = None,
    ablated_rank: int = 8,
    n_epochs: int = SETTINGS.n_epochs,
    batch_size: int = SETTINGS.batch_size,
    learning_rate: float = SETTINGS.learning_rate,
    n_bootstrap: int = 1000,
    resize: str | None = "squash",
    seed: int = 0,
    device: str = "auto",
) -> Score:
    """Probe the tokens of networks for objects and leave tables in a folder.

    Interrupted, it resumes when called again and ends with identical tables.

    Parameters
    ----------
    out : str or Path
        Folder for ``trials.parquet``, ``scores.parquet``, ``spectrum.parquet``
        (eigenvalues of the quadratic probes), ``directions.parquet`` and
        ``provenance.json``.
    models : str or sequence of str or FeatureSpec, default `DEFAULT_MODELS`
        Networks with layers that have places, as
        `tasks.picture_features.picture_models` reads them, such as
        "timm:vit_small_patch14_dinov2.lvd142m:blocks.11"; "default" stands for
        `DEFAULT_MODELS`.
    data : str or Path, optional
        Folder of pictures with instance masks, see
        `data_loaders.instance_masks.open_instance_masks`; by default scenes are drawn.
    n_train, n_test : int
        Scenes of each condition, 32 and 16; published sizes are about 134 and 34.
    size_px : int, default 224
        Side of the scenes.
    n_patches : int, default 64
        Patches drawn from each picture.
    families : mapping of str to str, optional
        "self-supervised" or "supervised" by title of a model: with both, they are
        compared.
    ablated_rank : int, default 8
        Eigenvectors of S that are taken out of the tokens.
    n_epochs : int, default 32
        Passes over the training pictures; the published probes take 8 over many
        thousand pictures.
    batch_size : int, default 8
        Pictures per step.
    learning_rate : float, default 0.001
        Of Adam; falls to a fifth after each 16 epochs.
    n_bootstrap : int, default 1000
        Bootstrap samples of tested pictures.
    resize : str or None, default "squash"
        How pictures come to the size of a network's input. Masks go with it only where
        all of the picture is kept, as "squash" does.
    seed : int, default 0
        Seed of scenes, patches, fits and bootstrap.
    device : str, default "auto"
        Where networks compute and probes are fitted.

    Returns
    -------
    Score
        The table of ``scores.parquet``. Metrics: `accuracy` (with the diagonal),
        `accuracy_off_diagonal`, `balanced_accuracy`, `auc`, `called_same` (conditions
        "twins" and "cut"), `balanced_accuracy_above_distance`, `class_accuracy` (of
        the patch, under ablation). Beside `SCORE_COLUMNS`: `kind` ("network",
        "control", "baseline"), `untrained`, `probe`, `grid`, `rank` (of a truncated
        probe), `ablation`, `amount` and `chance`.

    Raises
    ------
    TypeError, ValueError
        If an argument is wrong, a layer has no places, or `out` holds a run with other
        arguments.
    FileNotFoundError, DataCorruptError, MissingDependencyError
        If data or weights are missing or damaged.
    PermissionError, FileExistsError, NotADirectoryError
        If `out` cannot be written.

    Notes
    -----
    Training and test pictures share no scene, and no fit or choice sees the latter: the
    epoch is chosen on the last fifth of the training pictures.
    """
    for name, value, low in (
        ("n_train", n_train, 4),
        ("n_test", n_test, 1),
        ("n_patches", n_patches, 2),
        ("ablated_rank", ablated_rank, 1),
        ("n_bootstrap", n_bootstrap, 1),
        ("seed", seed, 0),
    ):
        check_whole(name, value, low=low)
    check_whole("size_px", size_px, low=64, high=1024)
    check_between("learning_rate", learning_rate, low=1e-9)
    settings = PairProbeSettings(n_epochs, batch_size, learning_rate)
    place = resolve(device)
    if data is not None:
        check_path("data", data, kind="folder")
    asked = [models] if isinstance(models, str | FeatureSpec) else list(models)
    named = [
        m for one in asked for m in (DEFAULT_MODELS if one == "default" else [one])
    ]
    loaded = picture_models(named, resize=resize)
    grids = {
        f"{model.title} {layer.title}": (layer.n_rows, layer.n_columns)
        for model in loaded
        for layer in observe(model).layers
    }
    if data is None:
        _check_grids(grids, (size_px, size_px))
    kinds = _check_families(families, loaded)
    marks = {f"model {m.title}": sha256_json(plain(m.identity)) for m in loaded}
    arguments = plain(
        {
            "task": TASK,
            "models": marks,
            "data": None if data is None else str(Path(data).resolve()),
            "n_train": n_train,
            "n_test": n_test,
            "size_px": size_px,
            "n_patches": n_patches,
            "families": kinds,
            "ablated_rank": ablated_rank,
            "settings": asdict(settings),
            "n_bootstrap": n_bootstrap,
            "seed": seed,
        }
    )
    check_same_run(out, arguments)
    if data is not None:
        scenes = folder_scenes(data)
        sides = np.array([mask.shape for mask in scenes.labels]).min(axis=0)
        _check_grids(grids, (int(sides[0]), int(sides[1])))
    folder = begin_run(out, arguments)
    if data is None:
        scenes = generated_scenes(n_train, n_test, size_px=size_px, seed=seed)
    run = _Run(scenes, arguments, settings, place, Store(folder / "parts"), folder)
    with deterministic():
        for model in progress(loaded, "object binding"):
            run.measure(model, marks[f"model {model.title}"])
    table = pd.DataFrame(run.rows)
    table["chance"] = np.where(
        table["metric"].isin(["balanced_accuracy", "auc"]), 0.5, np.nan
    )
    table = table.assign(
        subject=table["model"],
        stimuli=f"scenes:{scenes.fingerprint[:12]}",
        task=TASK,
        region="",
        seed=seed,
    ).reindex(columns=[*SCORE_COLUMNS, *_OWN])
    lines = [*run.orders]
    if (row := family_row(run.best, kinds, run.weights)) is not None:
        lines.append(row)
    trials = pd.concat(run.trials, ignore_index=True).assign(task=TASK, seed=seed)
    write_table(folder / "spectrum.parquet", pd.concat(run.spectra, ignore_index=True))
    write_table(folder / "directions.parquet", directions_table(lines))
    # Two models of one network have notes of one name: theirs tells them apart.
    notes = [
        f"{m.title}: {note.removeprefix(f'{m.backbone.name}: ')}"
        for m in loaded
        for note in m.notes
    ]
    notes += NOTES
    if data is None:
        notes.append("The scenes are drawings of this suite, not photographs.")
    provenance = collect(
        seed,
        device=place,
        fingerprints={**marks, "scenes": scenes.fingerprint},
        call=arguments,
        notes=notes,
    )
    score = Score(table, provenance)
    save_run(folder, trials=trials, score=score, fixations=None)
    return score


_OWN = (
    *("kind", "untrained", "probe", "grid"),
    *("rank", "ablation", "amount", "chance"),
)


class _Run:
    """What a run has found so far."""

    def __init__(
        self,
        scenes: BoundScenes,
        arguments: dict[str, Any],
        settings: PairProbeSettings,
        place: Any,
        store: Store,
        folder: Path,
    ) -> None:
        self.scenes, self.arguments, self.settings = scenes, arguments, settings
        self.place, self.store, self.folder = place, store, folder
        self.weights = resample_pictures(
            int(scenes.is_test.sum()),
            arguments["n_bootstrap"],
            generator(arguments["seed"], "pictures"),
        )
        self.grids: dict[tuple[int, int], tuple[Patches, PairGroups, Arrays]] = {}
        self.rows: list[dict[str, Any]] = []
        self.trials: list[pd.DataFrame] = []
        self.spectra: list[pd.DataFrame] = []
        self.orders: list[dict[str, Any]] = []
        self.best: dict[str, tuple[PairCounts, str]] = {}

    def measure(self, model: PictureModel, mark: str) -> None:
        """Probe all layers of a network."""
        least = np.inf
        for title, parts in model.layers.items():
            path = parts[0].partition(":")[0]
            tokens = read_tokens(
                model.backbone,
                self.scenes.pictures,
                path,
                device=self.place,
                store=self.folder / "parts" / "features",
            )
            grid = (tokens.shape[1], tokens.shape[2])
            patches, pairs, baselines = self._on_grid(grid)
            found = self._probes(tokens, patches, {"model": mark, "layer": path})
            known: dict[str, Any] = {
                "model": model.title,
                "layer": title,
                "kind": model.kind,
                "untrained": model.untrained,
                "grid": _grid_text(grid),
            }
            scored = layer_rows(found, baselines, pairs, self.weights)
            self.rows += [{**known, **row} for row in scored]
            shown = trial_rows(
                found, (*PROBES, *POINTWISE), self.scenes, patches, pairs
            )
            self.trials.append(shown.assign(**known))
            values = found["eigenvalues"]
            spectrum: dict[str, Any] = {
                "place": np.arange(1, len(values) + 1),
                "eigenvalue": values,
            }
            self.spectra.append(pd.DataFrame(spectrum).assign(**known))
            self.orders += order_rows(
                found,
                pairs,
                self.weights,
                model=model.title,
                layer=title,
                untrained=model.untrained,
            )
            held = float(found["validation quadratic"][0])
            if held < least:
                least = held
                said = found["logits quadratic"] > 0
                counts = count_pairs(said, pairs.same, pairs.groups["all"])
                self.best[model.title] = (counts, title)

    def _on_grid(self, grid: tuple[int, int]) -> tuple[Patches, PairGroups, Arrays]:
        """Return patches, pairs and baselines; the first time they are scored."""
        if grid in self.grids:
            return self.grids[grid]
        patches = draw_patches(
            self.scenes,
            grid,
            n_patches=self.arguments["n_patches"],
            seed=self.arguments["seed"],
        )
        pairs = sort_pairs(self.scenes, patches)
        test = self.scenes.is_test
        found = baseline_logits(patches, test, seed=self.arguments["seed"])
        known: dict[str, Any] = {
            "model": BASELINE,
            "layer": _grid_text(grid),
            "kind": "baseline",
            "untrained": False,
            "grid": _grid_text(grid),
        }
        scored = baseline_rows(found, pairs, self.weights)
        self.rows += [{**known, **row} for row in scored]
        shown = trial_rows(found, BASELINES, self.scenes, patches, pairs)
        self.trials.append(shown.assign(**known))
        self.grids[grid] = patches, pairs, found
        return self.grids[grid]

    def _probes(
        self,
        tokens: NDArray[np.float32],
        patches: Patches,
        source: dict[str, str],
    ) -> Arrays:
        known = {k: v for k, v in self.arguments.items() if k not in _NOT_FITTED}
        parts = {
            "fit": TASK,
            "version": VERSION,
            "code": code_fingerprint(),
            "scenes": self.scenes.fingerprint,
            **source,
            **known,
        }

        def compute() -> Arrays:
            return probe_layer(
                pick_tokens(tokens, patches),
                patches,
                self.scenes.is_test,
                n_classes=len(self.scenes.classes),
                ablated_rank=self.arguments["ablated_rank"],
                settings=self.settings,
                seed=self.arguments["seed"],
                device=self.place,
            )

        return self.store.get_or_compute(parts, compute)


_NOT_FITTED = ("task", "models", "data", "families", "n_bootstrap")


def _grid_text(grid: tuple[int, int]) -> str:
    return f"{grid[0]} x {grid[1]}"


def _check_grids(grids: Mapping[str, tuple[int, int]], sides: tuple[int, int]) -> None:
    """Refuse layers with more places than pictures have pixels."""
    for name, grid in grids.items():
        if grid[0] > sides[0] or grid[1] > sides[1]:
            raise ValueError(
                f"{name} has {_grid_text(grid)} places, but the smallest picture has "
                f"{_grid_text(sides)} pixels: give larger pictures or another layer."
            )


def _check_families(
    families: Mapping[str, str] | None, models: Sequence[PictureModel]
) -> dict[str, str]:
    titles = [model.title for model in models]
    for title, family in (families or {}).items():
        check_option("models named in families", title, titles)
        check_option("families", family, FAMILIES)
    return dict(families or {})
