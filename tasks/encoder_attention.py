"""Where the queries of a trained encoder look, picture by picture and on average."""

from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.attention_boxes import box_guidance
from analysis.attention_maps import attention_summary
from neurovis.core.errors import DataCorruptError
from neurovis.core.files import DECODER_ERRORS, atomic_path, corrupt
from neurovis.core.rng import generator
from neurovis.core.store import Store
from tasks.encoder_maps import MapSource
from tasks.encoder_model import FittedEncoder, load_encoder
from tasks.encoder_plans import RoutingTruth
from tasks.encoding_layers import file_name
from tasks.encoding_parts import Part

VERSION = 1
"""Raised when the same call gives other numbers."""

_EXAMPLES = 16
_MOST_BYTES = 2**30
_LEAST_PICTURES = 16


@dataclass(frozen=True, eq=False)
class AttentionMaps:
    """Maps of attention of one encoder.

    Parameters
    ----------
    names : tuple of str
        What the queries stand for.
    mean : ndarray of float32, shape (n_queries, h, w)
        Mean over held-out pictures; each map sums to 1.
    examples : ndarray of float32, shape (n_examples, n_queries, h, w)
        Of the first held-out pictures.
    rows : ndarray of int64, shape (n_examples,)
        Rows of the responses that these pictures belong to.
    """

    names: tuple[str, ...]
    mean: NDArray[np.float32]
    examples: NDArray[np.float32]
    rows: NDArray[np.int64]


def attention_file(folder: Path, subject: str, model: str, layer: str) -> Path:
    """Return where maps of attention lie.

    Parameters
    ----------
    folder : Path
        Folder of the run.
    subject, model, layer : str
        As in the tables.

    Returns
    -------
    Path
        ``attention/SUBJECT/MODEL/LAYER.npz``, perhaps not there yet.
    """
    home = folder / "attention" / file_name(subject) / file_name(model)
    return home / f"{file_name(layer)}.npz"


def load_attention(path: str | Path) -> AttentionMaps:
    """Read maps of attention.

    Parameters
    ----------
    path : str or Path
        ``.npz`` file of a run.

    Returns
    -------
    AttentionMaps
        Its maps.

    Raises
    ------
    DataCorruptError
        If the file is damaged.
    FileNotFoundError
        If it is missing.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"There are no maps of attention at {path}.")
    try:
        # From bytes, so that no file stays open.
        with np.load(BytesIO(path.read_bytes())) as file:
            names = tuple(map(str, file["names"]))
            return AttentionMaps(names, file["mean"], file["examples"], file["rows"])
    except (KeyError, BadZipFile, *DECODER_ERRORS) as error:
        raise corrupt(path, "attention", error) from error


def attention_table(
    folder: Path,
    part: Part,
    maps: MapSource,
    *,
    truth: RoutingTruth | None = None,
    seed: int = 0,
    device: str = "cpu",
) -> tuple[pd.DataFrame | None, str]:
    """Describe where queries look in held-out pictures, and keep the maps.

    Parameters
    ----------
    folder : Path
        Folder of the run.
    part : Part
        A fitted encoder whose model is kept.
    maps : MapSource
        What it looks at.
    truth : RoutingTruth, optional
        What a simulated subject looked at.
    seed : int, default 0
        Seed of permutations.
    device : str, default "cpu"
        Where to compute.

    Returns
    -------
    table : DataFrame or None
        One row per query, see `analysis.attention_maps.attention_summary`; places are
        told in widths of the picture that the network sees, from its centre. With
        objects at known places also what `analysis.attention_boxes.box_guidance`
        tells, with known receptive fields also `rf_x`, `rf_y`, `rf_size` (means over
        the units of a query) and `rf_distance` of the centre from there. None where
        there are too many queries to hold.
    note : str
        What a reader must know, or "".
    """
    held, candidate = part.held, part.candidate
    names = held.data.subject, candidate.model, candidate.layer
    path = attention_file(folder, *names)
    encoder = load_encoder(part.model_folder)
    rows = held.table["row"].to_numpy(np.int64)
    shape = _grid(encoder, maps, rows)
    one = 4 * len(encoder.query_names) * shape[0] * shape[1]
    n_most = _MOST_BYTES // one
    note = ""
    if n_most < _LEAST_PICTURES:
        return None, (
            f"{candidate.model}: attention of {len(encoder.query_names)} queries was "
            "not kept, for it would be too large."
        )
    if n_most < len(rows):
        n_all, rows = len(rows), rows[:: -(-len(rows) // n_most)]
        note = (
            f"{candidate.model}: attention of {len(rows)} of {n_all} held-out pictures."
        )
    if len(held.splits) > 1:
        seen = (
            f"{held.data.name}: attention is that of encoders trained on all rows, to "
            "pictures that they have seen."
        )
        note = f"{note} {seen}".strip()
    parts = {"part": "attention", "version": VERSION, "fit": part.key, "seed": seed}

    def compute() -> pd.DataFrame:
        attention = encoder.attention(maps.rows().take(rows), device=device)
        found = AttentionMaps(
            encoder.query_names,
            attention.mean(axis=0, dtype=np.float64).astype(np.float32),
            attention[:_EXAMPLES],
            rows[:_EXAMPLES],
        )
        with atomic_path(path) as part_path, part_path.open("wb") as file:
            np.savez(file, **vars(found))
        return _describe(attention, encoder, rows, truth, seed)

    store = Store(folder / "parts")
    try:
        load_attention(path)
        table: pd.DataFrame = store.get_or_compute(parts, compute)
    except (FileNotFoundError, DataCorruptError):
        table = compute()
        store.put(parts, table)
    subject, model, layer = names
    return table.assign(
        data=held.data.responses.name,
        subject=subject,
        model=model,
        layer=layer,
        untrained=candidate.is_untrained,
        simulated=held.data.is_simulated,
    ), note


def _grid(
    encoder: FittedEncoder, maps: MapSource, rows: NDArray[np.int64]
) -> tuple[int, int]:
    if not encoder.with_core:
        return encoder.in_shape[1], encoder.in_shape[2]
    one = encoder.attention(maps.rows().take(rows[:1]))
    return int(one.shape[2]), int(one.shape[3])


def _describe(
    attention: NDArray[np.float32],
    encoder: FittedEncoder,
    rows: NDArray[np.int64],
    truth: RoutingTruth | None,
    seed: int,
) -> pd.DataFrame:
    names = encoder.query_names
    table = attention_summary(attention, names=names)
    if truth is None:
        return table
    if truth.brain.kind == "fixed":
        return _with_fields(table, encoder)
    scenes = truth.brain.scenes
    found: list[Any] = []
    for number, category in enumerate(scenes.categories):
        mine = [i for i, name in enumerate(names) if name.split()[-1] == category]
        if mine:
            found.append(
                box_guidance(
                    attention[:, mine],
                    scenes.boxes[truth.scenes[rows], number],
                    scenes.pictures[0].shape[:2],
                    names=[names[i] for i in mine],
                    rng=generator(seed, "attention: exchanged maps", category),
                )
            )
    if not found:  # queries stand for no category
        return table
    boxes = pd.concat(found).rename(columns={"n_images": "n_with_object"})
    return table.merge(boxes, on="query", how="left")


def _with_fields(table: pd.DataFrame, encoder: FittedEncoder) -> pd.DataFrame:
    """Add the true receptive fields of the units of each query, averaged over them."""
    queries, fields = encoder.queries, ["rf_x", "rf_y", "rf_size"]
    assert queries is not None
    outputs = encoder.columns[encoder.columns >= 0]
    known = encoder.units.loc[encoder.columns >= 0, fields].to_numpy(np.float64)
    mask = np.eye(queries.n_units) if queries.mask is None else queries.mask
    weights = mask[:, outputs].astype(np.float64)
    truth = weights @ known / weights.sum(axis=1, keepdims=True)
    table[fields] = truth
    distance = np.hypot(table["x"] - table["rf_x"], table["y"] - table["rf_y"])
    return table.assign(rf_distance=distance)
