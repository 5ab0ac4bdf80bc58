"""Attention heads of a vision transformer: reach, pattern and importance of each.

References
----------
Li et al. (2023). How does attention work in vision transformers? A visual analytics
attempt. IEEE Trans. Vis. Comput. Graph. 29, 2888-2900. doi:10.1109/TVCG.2023.3261935
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.head_importance import EFFECTS
from analysis.head_patterns import MOST_ROWS, cluster_points, principal_axes
from data_loaders.picture_folder import open_picture_folder
from data_loaders.source_files import read_columns
from neurovis.adapters.attention_heads import prepare_images
from neurovis.adapters.backbones import load_backbone
from neurovis.adapters.feature_models import Backbone
from neurovis.adapters.head_layers import attention_layers
from neurovis.core.array_files import write_arrays
from neurovis.core.checks import check_path, check_whole
from neurovis.core.device import deterministic, resolve
from neurovis.core.files import sha256_file, sha256_json, write_table
from neurovis.core.provenance import collect
from neurovis.core.rng import generator
from neurovis.core.store import Store
from neurovis.core.types import Score
from stimuli.category_pictures import make_category_pictures
from tasks.attention_heads_parts import leave_heads_out, measure_maps
from tasks.attention_heads_scores import (
    TASK,
    HeadMeasures,
    head_directions,
    head_table,
    random_checks,
    ring_table,
    score_rows,
)
from tasks.directions import directions_table
from tasks.runs import begin_run, check_same_run, save_run

MODEL = "timm:test_vit@seeded:0"
N_PICTURES = 16
SIZE_PX = 128

Pictures = Sequence[NDArray[np.uint8]]


def run_attention_heads(
    out: str | Path,
    *,
    model: str = MODEL,
    masked: str | None = None,
    pictures: str | Path | None = None,
    labels: str | Path | None = None,
    n_pictures: int = N_PICTURES,
    n_clusters: int = 6,
    n_bootstrap: int = 1000,
    seed: int = 0,
    device: str = "auto",
) -> Score:
    """Describe every attention head of a vision transformer, and leave each out once.

    A trained network stands beside the same architecture with random weights.
    Interrupted, the run resumes when called again and ends with identical tables.

    Parameters
    ----------
    out : str or Path
        Folder for ``heads.parquet`` (all measures with intervals, axes and group of
        the pattern), ``rings.parquet``, ``trials.parquet`` (what the network says with
        and without each head), ``scores.parquet``, ``directions.parquet``,
        ``checks.parquet`` (random weights against even attention),
        ``mean_maps.safetensors`` and ``provenance.json``.
    model : str, default "timm:test_vit@seeded:0"
        A vision transformer of timm as "timm:NAME" or "timm:NAME@WEIGHTS", see
        `neurovis.adapters.backbones.load_backbone`. The default is small, untrained,
        and needs no download.
    masked : str, optional
        The same for a network trained as a masked autoencoder, whose maps are measured
        beside those of `model`.
    pictures : str or Path, optional
        Folder of pictures; drawings by default.
    labels : str or Path, optional
        Table (``.csv``, ``.csv.gz`` or ``.parquet``) with `stimulus_id` (path below
        the folder) and `label` (0-based class of the network). By default what the
        network says with all its heads counts as true.
    n_pictures : int, default 16
        Most pictures; more in the folder are drawn from at random.
    n_clusters : int, default 6
        Groups of heads with maps alike.
    n_bootstrap : int, default 1000
        Bootstrap samples of pictures.
    seed : int, default 0
        Seed of drawings, choice of pictures, random weights, groups and bootstrap.
    device : str, default "auto"
        Where networks compute.

    Returns
    -------
    Score
        The table of ``scores.parquet``: one row per head and measure. Beside
        `SCORE_COLUMNS`: `kind` ("network", "random", "masked"), `untrained`, `head`.
        Metrics: those of `analysis.head_profiles.profile_heads`; those of
        `analysis.head_importance.prune_effects` for a head left out, and with
        ``_alone`` for all others of its layer left out; `gradient` (mean absolute
        derivative of the loss by a factor at the head). Importance is measured on
        `model` only.

    Raises
    ------
    TypeError, ValueError
        If an argument is wrong, a network has no such attention, a picture has no
        label, or `out` holds a run with other arguments.
    FileNotFoundError, DataCorruptError
        If pictures, labels or weights are missing or damaged.
    PermissionError, FileExistsError, NotADirectoryError
        If `out` cannot be written.

    Notes
    -----
    Heads are left out one at a time: those that can stand in for each other all look
    unimportant. One head takes two passes of all pictures.
    """
    for name, value in (
        ("n_pictures", n_pictures),
        ("n_clusters", n_clusters),
        ("n_bootstrap", n_bootstrap),
    ):
        check_whole(name, value, low=1)
    check_whole("seed", seed, low=0)
    place = resolve(device)
    if pictures is not None:
        check_path("pictures", pictures, kind="folder")
    marks = {}
    if labels is not None:
        marks["labels"] = sha256_file(check_path("labels", labels))
    arguments: dict[str, Any] = {
        "task": TASK,
        "model": model,
        "masked": masked,
        "pictures": None if pictures is None else str(Path(pictures).resolve()),
        "labels": None if labels is None else str(Path(labels).resolve()),
        "n_pictures": n_pictures,
        "n_clusters": n_clusters,
        "n_bootstrap": n_bootstrap,
        "seed": seed,
    }
    check_same_run(out, arguments)
    networks = _load(model, masked, seed)
    layers = {kind: attention_layers(one) for kind, one in networks.items()}
    shown, names, mark = _open(pictures, n_pictures, seed)
    network = networks["network"]
    truth = None if labels is None else _read_labels(labels, names, network)
    images = {kind: prepare_images(one, shown) for kind, one in networks.items()}
    folder = begin_run(out, arguments)
    store = Store(folder / "parts")
    with deterministic():
        found = {
            kind: measure_maps(kind, one, layers[kind], images[kind], store, place)
            for kind, one in networks.items()
        }
        trials, effects = leave_heads_out(
            network, layers["network"], images["network"], truth, store, place
        )
    measured = {kind: measures for kind, (measures, _) in found.items()}
    own = measured["network"]
    measured["network"] = replace(own, by_measure=own.by_measure | effects)
    tables = [head_table(one, n_bootstrap, seed) for one in measured.values()]
    maps = found["network"][1]
    points, shares = principal_axes(maps.reshape(len(maps), -1))
    tables[0] = tables[0].assign(
        x=points[:, 0],
        y=points[:, 1],
        cluster=cluster_points(points, n_clusters=n_clusters, seed=seed),
        n_tokens=layers["network"][0].n_tokens,
        map_rows=min(own.grid[0], MOST_ROWS),
        map_columns=min(own.grid[1], MOST_ROWS),
    )
    heads = pd.concat(tables, ignore_index=True)
    whole = ["cluster", "n_tokens", "map_rows", "map_columns"]
    heads[whole] = heads[whole].astype("Int64")
    rings = [ring_table(one, n_bootstrap, seed) for one in measured.values()]
    directions = head_directions(list(measured.values()), n_bootstrap, seed)
    metrics = [c for c in heads.columns if f"{c}_low" in heads.columns]
    table = score_rows(
        heads, metrics, n=len(names), stimuli=f"pictures:{mark[:12]}", seed=seed
    )
    write_table(folder / "heads.parquet", heads)
    write_table(folder / "rings.parquet", pd.concat(rings, ignore_index=True))
    write_table(folder / "directions.parquet", directions_table(directions))
    write_table(folder / "checks.parquet", random_checks(heads))
    write_arrays(folder / "mean_maps.safetensors", {"maps": maps.astype(np.float32)})
    notes = [
        f"{one.title}: untrained weights" for one in measured.values() if one.untrained
    ]
    notes += [note for one in networks.values() if one.trained for note in one.notes]
    notes.append(
        "Two axes of the patterns hold "
        f"{100 * float(np.nansum(shares)):.0f} % of the variance of the mean maps."
    )
    if truth is None:
        notes.append(
            "No labels were given: importance counts what the network says with all "
            "its heads as true."
        )
    if pictures is None:
        notes.append("The pictures are drawings of this suite, not photographs.")
    notes.append(
        "Directions are recalled from publications on networks, not people. Their "
        "intervals are over pictures; the weights are one draw."
    )
    fingerprints = {
        f"model {measured[kind].title}": sha256_json(one.identity)
        for kind, one in networks.items()
    }
    score = Score(
        table,
        collect(
            seed,
            device=place,
            fingerprints={"pictures": mark, **marks, **fingerprints},
            call=arguments,
            notes=notes,
        ),
    )
    trials = _named(trials, names, truth, own, seed)
    save_run(folder, trials=trials, score=score, fixations=None)
    return score


# --------------------------------------------------------------- networks and pictures


def _load(model: str, masked: str | None, seed: int) -> dict[str, Backbone]:
    """Load the network, its random twin when it is trained, and the one beside it."""
    name, _, weights = model.partition("@")
    network = load_backbone(name, weights or None)
    found = {"network": network}
    if network.trained:
        size = network.preprocessing.size_px
        random = load_backbone(name, f"seeded:{seed}", size_px=size)
        # The same pictures in the same form.
        found["random"] = replace(random, preprocessing=network.preprocessing)
    if masked is not None:
        name, _, weights = masked.partition("@")
        found["masked"] = load_backbone(name, weights or None)
    return found


def _open(
    pictures: str | Path | None, n_pictures: int, seed: int
) -> tuple[Pictures, list[str], str]:
    """Return pictures, their identities, and a hash of what they are."""
    if pictures is None:
        drawn = make_category_pictures(n_pictures, size_px=SIZE_PX, seed=seed)
        shown = [drawn.load(i) for i in range(len(drawn))]
        return shown, drawn.table["stimulus_id"].tolist(), drawn.fingerprint
    found, table = open_picture_folder(pictures)
    names = table["stimulus_id"].tolist()
    chosen = list(range(len(names)))
    if len(names) > n_pictures:
        draw = generator(seed, "choice of pictures").permutation(len(names))
        chosen = sorted(int(i) for i in draw[:n_pictures])
    names = [names[i] for i in chosen]
    root = Path(pictures)
    mark = sha256_json([[name, sha256_file(root / name)] for name in names])
    return [found[i] for i in chosen], names, mark


def _read_labels(
    path: str | Path, names: list[str], network: Backbone
) -> NDArray[np.int64]:
    table = read_columns(path, {"stimulus_id": "text", "label": "whole"})
    twice = table["stimulus_id"].duplicated()
    if twice.any():
        raise ValueError(
            f"`labels` has several rows of {table.loc[twice, 'stimulus_id'].iloc[0]!r} "
            "in `stimulus_id`: keep one."
        )
    known = table.set_index("stimulus_id")["label"]
    absent = [name for name in names if name not in known.index]
    if absent:
        raise ValueError(
            f"`labels` has no row for {len(absent)} of {len(names)} pictures, such as "
            f"{absent[0]!r}: name each by its path below the folder."
        )
    n_classes = int(getattr(network.module, "num_classes", 0))
    found = known.loc[names].to_numpy(np.int64)
    if found.min() < 0 or found.max() >= n_classes:
        raise ValueError(
            f"`labels` must be classes of {network.name}, 0 to {n_classes - 1}; got "
            f"{found.min()} to {found.max()}."
        )
    return found


# -------------------------------------------------------------------------- trials


def _named(
    trials: pd.DataFrame,
    names: list[str],
    truth: NDArray[np.int64] | None,
    own: HeadMeasures,
    seed: int,
) -> pd.DataFrame:
    """Add what all tables of trials have."""
    picture = trials["picture"].to_numpy()
    response = trials["response"].astype("Int64")
    response = response.mask(response < 0)
    table = trials.assign(
        task=TASK,
        trial=np.arange(len(trials)),
        model=own.title,
        untrained=own.untrained,
        stimulus_id=[names[i] for i in picture],
        response=response,
        truth=pd.array([pd.NA] * len(trials), dtype="Int64"),
        seed=seed,
    )
    if truth is not None:
        table["truth"] = pd.array(truth[picture], dtype="Int64")
    table["correct"] = (table["response"] == table["truth"]).astype("boolean")
    first = ["task", "trial", "model", "untrained", "condition", "layer", "head"]
    answer = ["stimulus_id", "truth", "response", "correct", "rt_or_cost"]
    return table[[*first, *answer, *EFFECTS, "seed"]]
