"""Features of pictures, from any layers of a network, in memory or on disk."""

import logging
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from neurovis.adapters.feature_components import ComponentFit
from neurovis.adapters.feature_layers import Reading
from neurovis.adapters.feature_models import Backbone
from neurovis.adapters.feature_stream import (
    Block,
    HashedPictures,
    Pictures,
    Precision,
    check_batches,
    hash_picture,
    plan,
    stream_features,
)
from neurovis.adapters.projections import PrincipalComponents, Projection
from neurovis.core.checks import check_whole, suggest
from neurovis.core.device import autocast_dtype, free_memory_bytes, resolve
from neurovis.core.errors import DataCorruptError
from neurovis.core.feature_files import FeatureWriter, read_features
from neurovis.core.files import check_writable_folder, sha256_bytes, sha256_json
from neurovis.core.provenance import collect
from neurovis.core.store import lock

logger = logging.getLogger(__name__)

VERSION = 1
"""Raised when the same request gives other numbers."""

_FLOAT_BYTES = 4
_WAITING = 2  # batches that may wait to be written


def fingerprint_pictures(pictures: Pictures) -> str:
    """Return the SHA-256 over sizes and pixels of pictures, in their order.

    Parameters
    ----------
    pictures : sequence of ndarray of uint8, shape (H, W, 3)
        Pictures; each is read once.

    Returns
    -------
    str
        64 hexadecimal digits.

    Raises
    ------
    TypeError, ValueError
        If one of them is no picture.

    Examples
    --------
    >>> fingerprint_pictures([np.zeros((2, 2, 3), np.uint8)])[:8]
    'ed76b3e3'
    """
    return _combine(hash_picture(p, f"pictures[{i}]") for i, p in enumerate(pictures))


def _combine(digests: Iterable[bytes]) -> str:
    return sha256_bytes(b"".join(digests))


@dataclass
class _Target:
    """Where the features of one layer go, in order of the pictures."""

    reading: Reading
    projection: Projection | None
    found: NDArray[np.float32] | None = None
    writer: FeatureWriter | None = None
    n_done: int = 0

    @property
    def width(self) -> int:
        """Columns of the result."""
        p = self.projection
        return self.reading.n_features if p is None else p.n_components

    @property
    def result(self) -> NDArray[np.float32]:
        """All rows."""
        assert self.found is not None
        return self.found

    def parts(self, base: Mapping[str, Any]) -> dict[str, Any]:
        """Everything that the result depends on, `base` being the same for all."""
        projection = None if self.projection is None else self.projection.identity
        layer = {"layer": self.reading.identity, "shape": self.reading.shape}
        return {**base, **layer, "projection": projection}

    def take(self, first: int, rows: NDArray[np.float32]) -> None:
        """Keep the rows that are not yet there."""
        skip = self.n_done - first
        if skip < 0:
            raise ValueError(f"Rows {self.n_done} to {first} are missing.")
        if skip >= len(rows):
            return
        rows = rows[skip:]
        if not np.isfinite(rows).all():
            bad = int(np.flatnonzero(~np.isfinite(rows).all(axis=1))[0])
            raise ValueError(
                f"The layer {self.reading.text!r} gives values that are not finite for "
                f"pictures[{self.n_done + bad}]. With precision='autocast' numbers can "
                "grow too large: use 'float32'; else the weights are damaged."
            )
        if self.projection is not None:
            rows = self.projection.transform(rows)
        if self.writer is not None:
            self.writer.append(rows)
        else:
            self.result[self.n_done : self.n_done + len(rows)] = rows
        self.n_done += len(rows)


def extract_features(
    backbone: Backbone,
    pictures: Pictures,
    layers: Sequence[str],
    *,
    batch_size: int | Literal["auto"] = "auto",
    device: str | torch.device = "cpu",
    precision: Precision = "float32",
    store: str | Path | None = None,
    projection: Mapping[str, Projection] | None = None,
    fingerprint: str | None = None,
    shard_size: int = 256,
) -> dict[str, NDArray[np.float32]]:
    """Return features of pictures from several layers, in one pass.

    Order and grouping of the pictures change features by rounding only: up to 2e-6 of
    the largest magnitude of a layer on the CPU.

    Parameters
    ----------
    backbone : Backbone
        Network; see `neurovis.adapters.backbones.load_backbone`.
    pictures : sequence of ndarray of uint8, shape (H, W, 3)
        Pictures of any sizes, such as the `images` of a `StimulusSet` or the `pictures`
        of `UnitResponses`. Each is read once, and with a `store` twice.
    layers : sequence of str
        Requests as `neurovis.adapters.feature_layers` describes them, such as
        "layer4:gap" or "blocks.11:cls"; `list_layers` tells what there is.
    batch_size : int or "auto"
        Pictures that go through the network at once, halved when memory is short;
        "auto" begins with 32.
    device : str or torch.device, default "cpu"
        Where the network runs; as `neurovis.core.device.resolve`.
    precision : {"float32", "autocast"}
        "autocast" lets torch compute parts in 16 bits: faster on GPUs, and less exact.
    store : str or Path, optional
        Folder for features, of one purpose: what is there already for these pictures,
        network, layer and projection is not computed again. A run that was killed goes
        on.
    projection : mapping of str to Projection, optional
        By layer, what its features are projected by before they are kept; see
        `neurovis.adapters.projections` and `fit_principal_components`.
    fingerprint : str, optional
        Content hash of the pictures, when it is known; computed by default, with a
        `store`.
    shard_size : int, default 256
        With a `store`: pictures after which all is safe on disk.

    Returns
    -------
    dict of str to ndarray of float32, shape (n_pictures, n_features)
        One entry per layer; with a `store` memory-mapped and read-only.

    Raises
    ------
    TypeError, ValueError
        If a picture, a layer, a projection or an option does not fit, or features are
        not finite.
    MemoryError
        If the features do not fit into memory, or not a single picture.
    OSError
        If `store` cannot be written or has no room.

    Examples
    --------
    >>> from neurovis.adapters.backbones import load_backbone
    >>> backbone = load_backbone("control:colour")
    >>> grey = np.full((20, 30, 3), 128, np.uint8)
    >>> features = extract_features(backbone, [grey], ["statistics", "lab:grid2"])
    >>> features["lab:grid2"].shape
    (1, 12)
    >>> features["statistics"][0, 0].round()  # mean lightness
    np.float32(54.0)
    """
    place = resolve(device)
    size = check_batches(pictures, batch_size, precision)
    check_whole("shard_size", shard_size, low=1)
    readings = plan(backbone, layers, place)
    projections = _check_projections(backbone, readings, projection or {}, precision)
    targets = [_Target(r, projections.get(r.text)) for r in readings]
    run = partial(
        _fill, backbone, pictures, batch_size=size, device=place, precision=precision
    )
    if store is None:
        _allocate(targets, len(pictures))
        run(targets)
        return {t.reading.text: t.result for t in targets}
    folder = check_writable_folder(Path(store).absolute())
    marks = {
        "pictures": fingerprint or fingerprint_pictures(pictures),
        "weights": backbone.weights_hash,
    }
    call = {
        "network": backbone.name,
        "weights": backbone.weights_name,
        "batch_size": size,
        "precision": precision,
    }
    source = collect(None, place, precision, marks, call, backbone.notes).to_dict()
    base = {
        "kind": "features",
        "version": VERSION,
        "pictures": marks["pictures"],
        "n_pictures": len(pictures),
        "network": backbone.identity,
        "precision": _precision_name(precision, place),
    }
    with ExitStack() as held:
        for target in sorted(targets, key=lambda t: sha256_json(t.parts(base))):
            parts = target.parts(base)
            target.found = _read_or_lock(folder, sha256_json(parts), held)
            if target.found is None:
                shape = (len(pictures), target.width)
                writer = FeatureWriter(
                    folder, parts, *shape, shard_rows=shard_size, source=source
                )
                target.writer = held.enter_context(writer)
                target.n_done = writer.n_done
        missing = [t for t in targets if t.found is None]
        if not missing:
            logger.info("all features are in %s already", folder)
        run([t for t in missing if t.n_done < len(pictures)])
        for target in missing:
            assert target.writer is not None
            target.found = target.writer.finish()
    return {t.reading.text: t.result for t in targets}


def _precision_name(precision: str, device: torch.device) -> str:
    return precision if precision == "float32" else str(autocast_dtype(device))


def _check_projections(
    backbone: Backbone,
    readings: Sequence[Reading],
    projections: Mapping[str, Projection],
    precision: str,
) -> Mapping[str, Projection]:
    by_text = {reading.text: reading for reading in readings}
    for text, projection in projections.items():
        if text not in by_text:
            raise ValueError(
                f"`projection` names the layer {text!r}, which was not asked for."
                f"{suggest(text, by_text)}"
            )
        reading = by_text[text]
        if projection.n_features != reading.n_features:
            raise ValueError(
                f"The projection of {text!r} takes {projection.n_features} features; "
                f"the layer has {reading.n_features}."
            )
        source = projection.source
        wanted = _fitted_to(backbone, reading, precision)
        if source and any(source.get(key) != mark for key, mark in wanted.items()):
            raise ValueError(
                f"The projection of {text!r} was fitted to another layer, network, "
                "preprocessing or precision. Fit it again with "
                "`fit_principal_components`."
            )
    return projections


def _allocate(targets: Sequence[_Target], n: int) -> None:
    needed = sum(n * target.width * _FLOAT_BYTES for target in targets)
    free = free_memory_bytes(torch.device("cpu"))
    if needed > free:
        raise MemoryError(
            f"Features of {needed / 2**30:.1f} GiB do not fit into the free memory of "
            f"{free / 2**30:.1f} GiB. Give a `store`, or pool or project the layers."
        )
    for target in targets:
        target.found = np.empty((n, target.width), np.float32)


def _read_or_lock(
    folder: Path, key: str, held: ExitStack
) -> NDArray[np.float32] | None:
    """Return complete features; where there are none, become their only writer."""
    for may_wait in (True, False):
        try:
            return read_features(folder, key)
        except KeyError:
            pass
        except DataCorruptError as error:
            logger.warning("computing again: %s", error)
        if may_wait:  # until another process has finished them, or was ended
            held.enter_context(lock(folder / key))
    return None


def _fill(
    backbone: Backbone,
    pictures: Pictures,
    targets: Sequence[_Target],
    *,
    batch_size: int,
    device: torch.device,
    precision: Precision,
) -> None:
    """Compute what is missing; rows are projected and written by another thread."""
    if not targets:
        return

    def take(first: int, blocks: Block) -> None:
        for target, rows in zip(targets, blocks, strict=True):
            target.take(first, rows)

    # Batches are those of a run that was never interrupted: so are the bits.
    n_done = min(t.n_done for t in targets)
    stream = stream_features(
        *(backbone, pictures, [t.reading for t in targets]),
        first=n_done - n_done % batch_size,
        batch_size=batch_size,
        device=device,
        precision=precision,
    )
    waiting: deque[Future[None]] = deque()
    with ThreadPoolExecutor(1) as background, closing(stream):
        for first, blocks in stream:
            waiting.append(background.submit(take, first, blocks))
            if len(waiting) > _WAITING:
                waiting.popleft().result()
        for job in waiting:
            job.result()


def fit_principal_components(
    backbone: Backbone,
    training_pictures: Pictures,
    layers: Sequence[str],
    n_components: int,
    *,
    held_out: Pictures | None = None,
    block_size: int | None = None,
    batch_size: int | Literal["auto"] = "auto",
    device: str | torch.device = "cpu",
    precision: Precision = "float32",
) -> dict[str, PrincipalComponents]:
    """Fit principal components of layers in one pass over training pictures.

    Parameters
    ----------
    backbone : Backbone
        Network.
    training_pictures : sequence of ndarray of uint8, shape (H, W, 3)
        The pictures that a model will be trained on, and no others.
    layers : sequence of str
        Requests as `neurovis.adapters.feature_layers` describes them.
    n_components : int
        Components of each layer.
    held_out : sequence of ndarray of uint8, shape (H, W, 3), optional
        Pictures that a model will be tested on: the fit ends with an error when one of
        them, pixel by pixel, is among the training pictures.
    block_size : int, optional
        Pictures whose features are held in memory for one update, at least as many as
        components; three times as many by default. The result depends on it.
    batch_size : int or "auto"
        Pictures that go through the network at once.
    device : str or torch.device, default "cpu"
        Where the network runs.
    precision : {"float32", "autocast"}
        As `neurovis.adapters.features.extract_features`.

    Returns
    -------
    dict of str to PrincipalComponents
        One per layer, for the `projection` of `extract_features`. The `source` of
        each tells the hash of the training pictures, as `fingerprint_pictures`.

    Raises
    ------
    TypeError, ValueError
        If a layer or a number does not fit, features are not finite, or a picture
        of `held_out` is among the training pictures.
    """
    place = resolve(device)
    size = check_batches(training_pictures, batch_size, precision)
    n = len(training_pictures)
    check_whole("n_components", n_components, low=1, high=n - 1)
    block_size = 3 * n_components if block_size is None else block_size
    check_whole("block_size", block_size, low=n_components)
    readings = plan(backbone, layers, place)
    for reading in readings:
        if reading.n_features <= n_components:
            raise ValueError(
                f"The layer {reading.text!r} has {reading.n_features} features: "
                f"{n_components} components of it would save nothing."
            )
    fits = [ComponentFit(n_components) for _ in readings]
    hashed = HashedPictures(training_pictures, "training_pictures")
    for index, picture in enumerate(held_out or ()):
        hashed.refuse(picture, f"held_out[{index}]")
    # Blocks start at fixed pictures, so that the batch size changes nothing.
    edges = [*range(block_size, n - block_size // 2, block_size), n]
    waiting: list[list[NDArray[np.float32]]] = [[] for _ in readings]
    stream = stream_features(
        *(backbone, hashed, readings),
        batch_size=size,
        device=place,
        precision=precision,
    )
    with closing(stream):
        for first, blocks in stream:
            n_here = len(blocks[0])
            cut = 0
            while edges and edges[0] <= first + n_here:
                stop = edges.pop(0) - first
                for fit, parts, rows in zip(fits, waiting, blocks, strict=True):
                    fit.add(np.concatenate([*parts, rows[cut:stop]]))
                    parts.clear()
                cut = stop
            for parts, rows in zip(waiting, blocks, strict=True):
                if cut < n_here:
                    parts.append(rows[cut:])
    pictures = {"pictures": _combine(hashed.digests[i] for i in range(n))}
    return {
        r.text: fit.result(_fitted_to(backbone, r, precision) | pictures)
        for r, fit in zip(readings, fits, strict=True)
    }


def _fitted_to(backbone: Backbone, reading: Reading, precision: str) -> dict[str, str]:
    """Return hashes of the network and the layer that a projection is for."""
    layer = sha256_json({"layer": reading.identity, "precision": precision})
    return {"network": sha256_json(backbone.identity), "layer": layer}
