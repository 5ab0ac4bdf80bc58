"""Banks of image embeddings, built from folders of pictures.

Every shard holds the embeddings of a fixed part of the pictures, sorted by path. What
is finished is kept, so that a build that was killed ends with equal bytes.
"""

import logging
import re
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from data_loaders.picture_folder import open_picture_folder
from neurovis.adapters.feature_inputs import Preprocessing
from neurovis.adapters.feature_models import Backbone
from neurovis.adapters.feature_stream import check_batches, hash_picture, placed
from neurovis.core.checks import check_option, check_whole
from neurovis.core.device import exact_float32, in_batches, is_out_of_memory, resolve
from neurovis.core.embedding_bank import IMAGE_COLUMNS, EmbeddingBank, open_bank
from neurovis.core.embedding_files import (
    BANK_FILE,
    FAILED_FILE,
    IMAGES_FILE,
    read_card,
    shard_name,
    write_bank,
    write_shard,
)
from neurovis.core.errors import DataCorruptError
from neurovis.core.files import (
    DECODER_ERRORS,
    check_writable_folder,
    plain,
    read_json,
    read_table,
    remove_leftovers,
    sha256_file,
    sha256_json,
    write_json,
)
from neurovis.core.log import progress
from neurovis.core.pictures import read_image
from neurovis.core.provenance import collect
from neurovis.core.store import lock
from tasks.picture_networks import OUTPUT, NetworkReader, read_network
from tasks.runs import begin_run

logger = logging.getLogger(__name__)

PRECISIONS = ("float32", "float16")
"""In which embeddings are stored; they are computed in float32."""

FAILED_COLUMNS = ("image", "reason")
"""One row per picture that was left out."""

SHARD_ROWS = 65_536

_READERS = 8  # threads that read and prepare pictures
_ADDRESS = re.compile(r" at 0x[0-9a-f]+")
_AT_HAND = 3  # batches that are used or being read


def build_bank(
    pictures: str | Path,
    out: str | Path,
    *,
    backbone: Backbone,
    layer: str = OUTPUT,
    shard_rows: int = SHARD_ROWS,
    precision: Literal["float32", "float16"] = "float32",
    batch_size: int | Literal["auto"] = "auto",
    device: str | torch.device = "auto",
    name: str | None = None,
) -> EmbeddingBank:
    """Embed all pictures of a folder.

    Interrupted, it goes on when called again. Pictures that cannot be read, or whose
    embedding is zero or not finite, are left out and listed in ``failed.csv``.

    Parameters
    ----------
    pictures : str or Path
        Folder; pictures of sub-folders count, too.
    out : str or Path
        Folder of the bank.
    backbone : Backbone
        Network, of `neurovis.adapters.backbones.load_backbone`.
    layer : str, default "output"
        What of it: "output" for what it returns, such as the embedding of CLIP, or a
        layer as `neurovis.adapters.feature_layers` describes them. Embeddings are
        stored as they are, not scaled to length 1.
    shard_rows : int, default 65536
        Pictures of a shard: what is lost at most when a build is interrupted.
    precision : {"float32", "float16"}
        In which they are stored; float16 takes half the room.
    batch_size : int or "auto"
        Pictures that go through the network at once, halved when memory is short;
        "auto" begins with 32.
    device : str or torch.device, default "auto"
        Where the network runs.
    name : str, optional
        Name of the bank; that of its folder by default.

    Returns
    -------
    EmbeddingBank
        The bank, opened. Its `embedding` tells network, weights, layer and
        preprocessing.

    Raises
    ------
    FileNotFoundError
        If the folder is missing or holds no picture.
    TypeError, ValueError
        If an argument is out of range, `out` holds another bank, or no picture at all
        could be embedded.
    BlockingIOError
        If another process is building there.
    OSError
        If `out` cannot be written or has no room.
    """
    check_option("precision", precision, PRECISIONS)
    check_whole("shard_rows", shard_rows, low=1)
    root = Path(pictures)
    _, labels = open_picture_folder(root)
    names = labels["stimulus_id"].tolist()
    size = check_batches(names, batch_size, "float32")
    place = resolve(device)
    told = Path(out).resolve().name if name is None else name
    sizes = [[image, (root / image).stat().st_size] for image in names]
    embedding = plain(
        {
            "network": backbone.name,
            "architecture": backbone.architecture,
            "weights_hash": backbone.weights_hash,
            "layer": layer,
            "preprocessing": backbone.preprocessing.identity,
            "untrained": not backbone.trained,
        }
    )
    call = {
        "task": "bank",
        "name": told,
        **embedding,
        "precision": precision,
        "shard_rows": shard_rows,
        "n_pictures": len(names),
        "pictures": sha256_json(sizes),
    }
    folder = check_writable_folder(out)
    with lock(folder / BANK_FILE, wait=False):
        begin_run(folder, call)
        remove_leftovers(folder, "*")
        if _is_complete(folder, names, shard_rows):
            _remove_records(folder)
            return open_bank(folder)
        with placed(backbone.module, place):
            reader = read_network(backbone, [layer], place)
            records = _embed_shards(
                *(reader, root, names, folder),
                shard_rows=shard_rows,
                dtype=np.dtype(precision),
                batch_size=size,
                device=place,
            )
        images, failed = _join(records)
        if not len(images):
            _remove_records(folder)
            raise ValueError(
                f"None of the {len(names)} pictures in {root} could be embedded; the "
                f"first one: {failed['reason'].iloc[0]}"
            )
        marks = {"pictures": call["pictures"], "weights": backbone.weights_hash}
        provenance = collect(None, place, "float32", marks, call, backbone.notes)
        write_json(folder / "provenance.json", provenance.to_dict())
        (width,) = reader.sizes.values()
        write_bank(
            *(folder, [r["shard"] for r in records if r["shard"]], images, failed),
            name=told,
            embedding=embedding,
            n_features=width,
            dtype=precision,
            notes=backbone.notes,
        )
        _remove_records(folder)
    if len(failed):
        logger.warning(
            "%d of %d pictures were left out; %s lists them",
            *(len(failed), len(names), folder / FAILED_FILE),
        )
    return open_bank(folder)


def find_shared(
    bank: EmbeddingBank, pictures: Sequence[NDArray[np.uint8]]
) -> list[str]:
    """Return the images of a bank that are among some pictures, pixel by pixel.

    What an encoder was trained or is tested on tells less about it when it is in the
    bank, too.

    Parameters
    ----------
    bank : EmbeddingBank
        With names of images.
    pictures : sequence of ndarray of uint8, shape (H, W, 3)
        Pictures; each is read once.

    Returns
    -------
    list of str
        Names in the bank, in its order.

    Raises
    ------
    TypeError, ValueError
        If the images of the bank are not known, or one of `pictures` is none.
    """
    if bank.images is None:
        raise ValueError(
            f"The images of the bank {bank.name!r} are not known, only their "
            "embeddings: shared ones cannot be found."
        )
    given = {
        hash_picture(picture, f"pictures[{i}]").hex()
        for i, picture in enumerate(pictures)
    }
    return bank.images["image"][bank.images["sha256"].isin(given)].tolist()


# ---------------------------------------------------------------- embedding


@dataclass(frozen=True, eq=False)
class _Picture:
    """A picture as the network takes it, or why there is none."""

    name: str
    sha256: str = ""
    prepared: NDArray[np.uint8] | None = None
    reason: str = ""


def _read(root: Path, name: str, rule: Preprocessing) -> _Picture:
    path = root / name
    try:
        picture = read_image(path)
        sha = hash_picture(picture, name).hex()
        return _Picture(name, sha, rule.prepare(picture))
    except DECODER_ERRORS as error:
        # Without places on disk and in memory, so that equal pictures give equal banks.
        text = _ADDRESS.sub("", str(error).replace(str(path), name))
        reason = " ".join(text.split())
        return _Picture(name, reason=reason or type(error).__name__)


def _read_ahead(
    root: Path, names: Sequence[str], rule: Preprocessing, batch_size: int
) -> Iterator[list[_Picture]]:
    """Yield batches of pictures; the next ones are read by other threads meanwhile."""
    waiting: deque[Future[_Picture]] = deque()
    rest = iter(names)
    with ThreadPoolExecutor(_READERS) as pool:
        try:
            for start in range(0, len(names), batch_size):
                for name in islice(rest, _AT_HAND * batch_size - len(waiting)):
                    waiting.append(pool.submit(_read, root, name, rule))
                n = min(batch_size, len(names) - start)
                yield [waiting.popleft().result() for _ in range(n)]
        finally:
            pool.shutdown(cancel_futures=True)


def _embed_shards(
    reader: NetworkReader,
    root: Path,
    names: Sequence[str],
    folder: Path,
    *,
    shard_rows: int,
    dtype: np.dtype[Any],
    batch_size: int,
    device: torch.device,
) -> list[dict[str, Any]]:
    """Write the shards that are missing; return the records of all."""
    records = []
    with progress(len(names), "embedding", unit="picture") as bar:
        for number, start in enumerate(range(0, len(names), shard_rows)):
            some = names[start : start + shard_rows]
            record = _read_record(folder, number)
            if record is None:
                found = _embed(reader, root, some, dtype, batch_size, device, bar)
                record = _write_record(folder, number, *found)
            else:
                bar.update(len(some))
            records.append(record)
    return records


def _embed(
    reader: NetworkReader,
    root: Path,
    names: Sequence[str],
    dtype: np.dtype[Any],
    batch_size: int,
    device: torch.device,
    bar: Any,
) -> tuple[list[NDArray[Any]], list[list[str]], list[list[str]]]:
    """Return embeddings, their images with hashes, and failed images with reasons."""
    (request,) = reader.sizes
    at_once = batch_size

    def forward(some: Sequence[Any]) -> list[NDArray[Any]]:
        nonlocal at_once
        try:
            with torch.inference_mode(), exact_float32():
                pixels = torch.from_numpy(np.stack(some)).to(device)
                return list(reader.read(pixels)[request].cpu().numpy())
        except (RuntimeError, MemoryError) as error:
            if is_out_of_memory(error):  # the next batches are smaller, too
                at_once = max(1, len(some) // 2)
            raise

    rows, images, failed = [], [], []
    for batch in _read_ahead(root, names, reader.rule, batch_size):
        sound = [picture for picture in batch if not picture.reason]
        failed += [
            [picture.name, picture.reason] for picture in batch if picture.reason
        ]
        prepared = [picture.prepared for picture in sound]
        found = in_batches(forward, prepared, at_once, device=device)
        for picture, row in zip(sound, found, strict=True):
            with np.errstate(over="ignore"):  # too large becomes infinite
                stored = row.astype(dtype)
            if not np.isfinite(stored).all():
                failed.append([picture.name, f"its embedding is not finite in {dtype}"])
            elif not stored.any():
                failed.append([picture.name, "its embedding is zero"])
            else:
                rows.append(stored)
                images.append([picture.name, picture.sha256])
        bar.update(len(batch))
    return rows, images, sorted(failed)


# ----------------------------------------------------------------- records

# Until the bank is complete every finished shard has a record beside it.


def _record_file(folder: Path, number: int) -> Path:
    return (folder / shard_name(number)).with_suffix(".json")


def _write_record(
    folder: Path,
    number: int,
    rows: Sequence[NDArray[Any]],
    images: Sequence[Sequence[str]],
    failed: Sequence[Sequence[str]],
) -> dict[str, Any]:
    shard = write_shard(folder, number, np.stack(rows)) if rows else None
    record = {"shard": shard, "images": images, "failed": failed}
    write_json(_record_file(folder, number), record)
    return record


def _read_record(folder: Path, number: int) -> dict[str, Any] | None:
    """Return the record of a finished shard if the shard is what it was."""
    file = _record_file(folder, number)
    if not file.is_file():
        return None
    try:
        record = read_json(file)
    except DataCorruptError as error:
        logger.warning("embedding again: %s", error)
        return None
    shard = record["shard"]
    path = folder / shard_name(number)
    if shard and not (path.is_file() and sha256_file(path) == shard["sha256"]):
        logger.warning("embedding again: %s is missing or has another hash", path)
        return None
    return dict(record)


def _remove_records(folder: Path) -> None:
    for file in folder.glob("shard-*.json"):
        file.unlink()


def _join(records: Sequence[Mapping[str, Any]]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return images of all shards, and failed ones."""
    images = [row for record in records for row in record["images"]]
    failed = [row for record in records for row in record["failed"]]
    return (
        pd.DataFrame(images, columns=list(IMAGE_COLUMNS), dtype="str"),
        pd.DataFrame(failed, columns=list(FAILED_COLUMNS), dtype="str"),
    )


def _is_complete(folder: Path, names: Sequence[str], shard_rows: int) -> bool:
    """Tell whether a bank is there and sound; if not, keep what is sound of it."""
    if not (folder / BANK_FILE).exists():
        return False
    try:
        read_card(folder, verify=True)
    except DataCorruptError as error:
        logger.warning("building again: %s", error)
    else:
        return True
    with suppress(DataCorruptError, FileNotFoundError):
        _restore_records(folder, names, shard_rows)
    (folder / BANK_FILE).unlink()
    return False


def _restore_records(folder: Path, names: Sequence[str], shard_rows: int) -> None:
    """Write the records of a bank again, from its tables."""
    card = read_card(folder, verify=False)
    tables = []
    for table in (IMAGES_FILE, FAILED_FILE):
        if sha256_file(folder / table) != card["sha256"][table]:
            return
        tables.append(read_table(folder / table))
    place = {name: number // shard_rows for number, name in enumerate(names)}
    rows = [
        {number: some.to_numpy().tolist() for number, some in table.groupby(at)}
        for table in tables
        for at in [table["image"].map(place)]
    ]
    shards = {entry["file"]: entry for entry in card["shards"]}
    for number in range(-(-len(names) // shard_rows)):
        record = {
            "shard": shards.get(shard_name(number)),
            "images": rows[0].get(number, []),
            "failed": rows[1].get(number, []),
        }
        write_json(_record_file(folder, number), record)
