"""Feature maps as trained encoders read them: picture by picture, from disk."""

import math
import mmap
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neurovis.adapters.feature_layers import Reading
from neurovis.core.files import plain
from neurovis.core.store import Store
from tasks.encoding_features import FeatureSource, read_layers
from tasks.encoding_fwrf import check_channel_order
from tasks.feature_specs import split_layer

PIXELS = "control:pixels"
"""Features that are pictures: a core looks at them."""

_NUMBERS_AT_ONCE = 2**20
_BLOCKS_AHEAD = 8


@dataclass(frozen=True)
class MapLayout:
    """How the stored features of a picture are arranged.

    Parameters
    ----------
    shape : tuple of int
        Channels, height and width of the map; a vector is a map of one place.
    is_tokens : bool
        Whether they are stored place by place, as a transformer gives them, or
        channel by channel.
    """

    shape: tuple[int, int, int]
    is_tokens: bool = False

    @property
    def n_places(self) -> int:
        """Places of the map."""
        return self.shape[1] * self.shape[2]


def map_layout(reading: Reading, title: str) -> MapLayout:
    """Return how a layer is arranged.

    Parameters
    ----------
    reading : Reading
        Request as a network understands it.
    title : str
        Who asks, for messages.

    Returns
    -------
    MapLayout
        Of maps, of patch tokens, or of a vector.

    Raises
    ------
    ValueError
        If the values form neither.
    """
    shape, found = reading.shape, reading.activation
    path = reading.text.partition(":")[0]
    if len(shape) == 1:
        return MapLayout((shape[0], 1, 1))
    if found.kind == "map" and len(shape) == 3:
        check_channel_order(reading, title)
        return MapLayout((shape[0], shape[1], shape[2]))
    if len(shape) == 3:  # grids of tokens
        return MapLayout((shape[0], shape[1], shape[2]))
    if found.kind == "tokens" and found.grid is not None and len(shape) == 2:
        height, width = found.grid
        if shape[0] == height * width:
            return MapLayout((shape[1], height, width), is_tokens=True)
    raise ValueError(
        f"{reading.text!r} of {title} gives values of shape {shape}, which have no "
        f"places in the picture: ask for maps ('{path}:flat'), or for the patches of "
        f"tokens ('{path}:patches', '{path}:q.patches')."
    )


def joined_shape(layouts: Sequence[MapLayout], title: str) -> tuple[int, int, int]:
    """Return the shape of maps whose channels stand side by side.

    Parameters
    ----------
    layouts : sequence of MapLayout
        Parts of a layer.
    title : str
        Layer, for the message.

    Returns
    -------
    tuple of int
        Channels, height and width.

    Raises
    ------
    ValueError
        If their grids differ.
    """
    grids = {layout.shape[1:] for layout in layouts}
    if len(grids) > 1:
        raise ValueError(
            f"The parts of {title!r} have the grids {sorted(grids)}: maps that stand "
            "side by side need the same one. Ask for ':gridK' of each."
        )
    ((height, width),) = grids
    return sum(layout.shape[0] for layout in layouts), height, width


@dataclass(frozen=True, eq=False)
class MapRows:
    """Maps of some rows of the responses, read from disk when they are asked for.

    Parameters
    ----------
    parts : tuple of ndarray of float32, each of shape (n_found, n_part)
        Stored features, side by side.
    layouts : tuple of MapLayout
        Of each part.
    codes : ndarray of int, shape (n_rows,)
        Row of the parts for each row here.
    """

    parts: tuple[NDArray[np.float32], ...]
    layouts: tuple[MapLayout, ...]
    codes: NDArray[np.intp]

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Rows, channels, height and width."""
        return len(self.codes), *joined_shape(self.layouts, "maps")

    @property
    def is_tokens(self) -> bool:
        """Whether all parts are stored place by place."""
        return all(layout.is_tokens for layout in self.layouts)

    def __len__(self) -> int:
        return len(self.codes)

    def __getitem__(self, rows: Any) -> NDArray[np.float32]:
        """Read some maps; the array is new, and tokens stay place by place in it."""
        found = np.atleast_1d(self.codes[rows])
        # In the order of the file, which disks read fastest.
        kept, back = np.unique(found, return_inverse=True)
        maps = []
        for part, layout in zip(self.parts, self.layouts, strict=True):
            _announce(part, kept)
            # Unlike an index, `take` lets other threads run while it reads.
            values = np.take(np.asarray(part), kept, axis=0)
            values = values.astype(np.float32, copy=False)
            if not np.array_equal(found, kept):
                values = np.take(values, back, axis=0)
            maps.append(_as_maps(values, layout))
        if len(maps) == 1:
            return maps[0]
        joined = _empty_maps((len(found), *self.shape[1:]), self.is_tokens)
        return np.concatenate(maps, axis=1, out=joined)

    def take(self, rows: NDArray[np.integer[Any]]) -> "MapRows":
        """Return the maps of some rows.

        Parameters
        ----------
        rows : ndarray of int, shape (n,)
            0-based rows.

        Returns
        -------
        MapRows
            Read when they are asked for, too.
        """
        return replace(self, codes=self.codes[rows])


@dataclass(frozen=True, eq=False)
class JoinedRows:
    """Maps of several subjects, one after the other.

    Parameters
    ----------
    members : tuple of MapRows
        Of each subject, of one shape.
    fingerprint : str
        Content hash, by which a training that is resumed knows them.
    """

    members: tuple[MapRows, ...]
    fingerprint: str

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Rows, channels, height and width."""
        return len(self), *self.members[0].shape[1:]

    def __len__(self) -> int:
        return sum(map(len, self.members))

    def __getitem__(self, rows: Any) -> NDArray[np.float32]:
        if len(self.members) == 1:
            return self.members[0][rows]
        rows = np.atleast_1d(np.arange(len(self))[rows])
        found = _empty_maps(
            (len(rows), *self.shape[1:]), all(m.is_tokens for m in self.members)
        )
        start = 0
        for member in self.members:
            stop = start + len(member)
            mine = (rows >= start) & (rows < stop)
            if mine.any():
                found[mine] = member[rows[mine] - start]
            start = stop
        return found


def _announce(part: NDArray[np.float32], rows: NDArray[np.intp]) -> None:
    """Tell the system which rows of a file are read next.

    Alone it reads from maps in small pieces and waits for each.
    """
    file = part.base
    known = isinstance(part, np.memmap) and isinstance(file, mmap.mmap)
    if not (known and part.flags.c_contiguous and hasattr(file, "madvise")):
        return
    assert isinstance(part, np.memmap)
    assert isinstance(file, mmap.mmap)
    first, row_bytes = part.offset % mmap.ALLOCATIONGRANULARITY, part[:1].nbytes
    for run in np.split(rows, np.flatnonzero(np.diff(rows) != 1) + 1):
        if len(run):
            start = first + int(run[0]) * row_bytes
            page = start // mmap.PAGESIZE * mmap.PAGESIZE
            stop = start + len(run) * row_bytes
            file.madvise(mmap.MADV_WILLNEED, page, stop - page)


def _as_maps(values: NDArray[np.float32], layout: MapLayout) -> NDArray[np.float32]:
    """Return stored rows as maps, without a copy."""
    channels, height, width = layout.shape
    if layout.is_tokens:
        return values.reshape(-1, height, width, channels).transpose(0, 3, 1, 2)
    return values.reshape(-1, channels, height, width)


def _empty_maps(
    shape: tuple[int, int, int, int], is_tokens: bool
) -> NDArray[np.float32]:
    """Return room for maps, place by place or channel by channel in memory."""
    n, channels, height, width = shape
    if is_tokens:
        return np.empty((n, height, width, channels), np.float32).transpose(0, 3, 1, 2)
    return np.empty(shape, np.float32)


def channel_moments(
    maps: MapRows | JoinedRows,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return mean and standard deviation of each channel over rows and places.

    Parameters
    ----------
    maps : MapRows or JoinedRows
        Of training rows.

    Returns
    -------
    mean, scale : ndarray of float32, shape (n_channels,)
        The scale of a channel is at least a thousandth of the typical one, so that
        channels that hardly vary are not blown up.

    Notes
    -----
    Everything is read once, a picture of several rows too. Blocks have a mean and
    squares around it in float64 and are merged as by Chan, Golub & LeVeque (1983),
    doi:10.1080/00031305.1983.10483115, which loses no more than two passes.
    """
    members = maps.members if isinstance(maps, JoinedRows) else (maps,)
    counted = [np.unique(member.codes, return_counts=True) for member in members]
    found = []
    for number in range(len(members[0].parts)):
        n, mean, squares = 0.0, np.zeros(()), np.zeros(())
        for member, (codes, counts) in zip(members, counted, strict=True):
            layout, part = member.layouts[number], member.parts[number]
            at_once = max(1, _NUMBERS_AT_ONCE // math.prod(layout.shape))
            _announce(part, codes[: _BLOCKS_AHEAD * at_once])
            for at in range(0, len(codes), at_once):
                here = slice(at, at + at_once)
                ahead = at + _BLOCKS_AHEAD * at_once
                _announce(part, codes[ahead : ahead + at_once])
                values = np.take(np.asarray(part), codes[here], axis=0)
                m, own_mean, own_squares = _block_moments(values, counts[here], layout)
                gap, n = own_mean - mean, n + m
                mean = mean + gap * (m / n)
                squares = squares + own_squares + gap**2 * (m * (n - m) / n)
        found.append((mean, squares / n))
    mean, variance = (np.concatenate(values) for values in zip(*found, strict=True))
    # What rounding leaves of a channel that does not vary.
    variance[np.sqrt(variance) <= 1e-10 * np.abs(mean)] = 0
    typical = float(np.sqrt(variance.mean())) or 1.0
    scale = np.maximum(np.sqrt(variance), 1e-3 * typical)
    return mean.astype(np.float32), scale.astype(np.float32)


def _block_moments(
    values: NDArray[np.float32], counts: NDArray[np.intp], layout: MapLayout
) -> tuple[float, NDArray[np.float64], NDArray[np.float64]]:
    """Return values per channel, their means and their squares around these."""
    n_places, n_channels = layout.n_places, layout.shape[0]
    wide = values.astype(np.float64)
    n = float(counts.sum()) * n_places
    # Products with vectors are several times faster than sums along axes.
    if layout.is_tokens:
        wide = wide.reshape(-1, n_channels)
        weights = np.repeat(counts, n_places).astype(np.float64)
        mean = weights @ wide / n
        wide -= mean
        wide *= wide
        return n, mean, weights @ wide
    wide = wide.reshape(-1, n_channels, n_places)
    ones, weights = np.ones(n_places), counts.astype(np.float64)
    mean = weights @ (wide @ ones) / n
    wide -= mean[:, None]
    wide *= wide
    return n, mean, weights @ (wide @ ones)


def kept_moments(
    maps: JoinedRows, store: str | Path
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return `channel_moments`, computed once for the same rows of the same maps.

    Parameters
    ----------
    maps : JoinedRows
        Of training rows; their fingerprint finds the moments again.
    store : str or Path
        Folder of features; the moments lie in ``moments`` there.

    Returns
    -------
    mean, scale : ndarray of float32, shape (n_channels,)
        As `channel_moments`.

    Raises
    ------
    PermissionError, NotADirectoryError
        If `store` cannot be written.
    """

    def compute() -> dict[str, NDArray[Any]]:
        mean, scale = channel_moments(maps)
        return {"mean": mean, "scale": scale}

    parts = {"what": "moments of channels", "maps": maps.fingerprint, "version": 1}
    found = Store(Path(store) / "moments").get_or_compute(parts, compute)
    return found["mean"], found["scale"]


@dataclass(frozen=True, eq=False)
class MapSource:
    """The maps of one layer for one subject.

    Parameters
    ----------
    source : FeatureSource
        Where they come from.
    layer : str
        Title of the layer.
    layouts : tuple of MapLayout
        Of its parts.
    """

    source: FeatureSource
    layer: str
    layouts: tuple[MapLayout, ...]

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width."""
        return joined_shape(self.layouts, self.layer)

    @property
    def is_pictures(self) -> bool:
        """Whether these are pictures, for a core."""
        return self.source.spec.name == PIXELS

    def identity(self) -> dict[str, Any]:
        """Return all that the maps depend on.

        Returns
        -------
        dict
            JSON values.
        """
        found = self.source.identity(self.layer, np.arange(0))
        # Arrays that came with the data do not tell how they are arranged.
        return found | {"layouts": self._told_layouts()}

    def rows(self) -> MapRows:
        """Compute or read the maps of all rows.

        Returns
        -------
        MapRows
            Read from disk when they are asked for.
        """
        layer = self.source.load(self.layer, np.arange(0))
        return MapRows(tuple(layer.parts), self.layouts, layer.codes)

    def describe(self) -> dict[str, Any]:
        """Tell how the maps of other pictures are computed.

        Returns
        -------
        dict
            JSON values.
        """
        layer = self.source.load(self.layer, np.arange(0))
        return {**self.source.describe(layer), "layouts": self._told_layouts()}

    def _told_layouts(self) -> Any:
        return plain([vars(layout) for layout in self.layouts])


def map_sources(source: FeatureSource) -> list[MapSource]:
    """Return the layers of a request as maps.

    Parameters
    ----------
    source : FeatureSource
        Features of one subject.

    Returns
    -------
    list of MapSource
        One per layer.

    Raises
    ------
    ValueError
        If a layer has no places in the picture, or features came without the shape of
        maps.
    """
    spec, data = source.spec, source.data
    if source.backbone is None:
        shapes = {"": data.map_shapes.get(spec.name)} if spec.source == "given" else {}
        found = []
        for layer in source.layers:
            shape = shapes.get(layer)
            if shape is None:
                raise ValueError(
                    f"The features {spec.title!r} are no maps: trained encoders need "
                    "a layer of a network, or features with `BrainData.map_shapes`."
                )
            found.append(MapSource(source, layer, (MapLayout(shape),)))
        return found
    readings = {r.text: r for r in read_layers(spec, source.backbone)}
    found = []
    for text in spec.layers:
        title, requests = split_layer(text)
        layouts = tuple(map_layout(readings[r], spec.title) for r in requests)
        joined_shape(layouts, title)
        found.append(MapSource(source, title, layouts))
    return found
