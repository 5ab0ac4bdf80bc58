"""Feature maps as trained encoders read them: picture by picture, from disk."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neurovis.adapters.feature_layers import Reading
from neurovis.core.files import plain
from tasks.encoding_features import FeatureSource, read_layers
from tasks.encoding_layers import Layer
from tasks.feature_specs import split_layer

PIXELS = "control:pixels"
"""Features that are pictures: a core looks at them."""

_PICTURES_AT_ONCE = 64


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
        if found.grid is None:
            raise ValueError(
                f"{reading.text!r} of {title} has the shape {shape}, which does not "
                "tell which axis holds the maps: ask for "
                f"'{path}:flat:channels-first' or '{path}:flat:channels-last'."
            )
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

    def __len__(self) -> int:
        return len(self.codes)

    def __getitem__(self, rows: Any) -> NDArray[np.float32]:
        found = self.codes[rows]
        maps = []
        for part, layout in zip(self.parts, self.layouts, strict=True):
            channels, height, width = layout.shape
            # In the order of the file, which disks read fastest.
            kept, back = np.unique(found, return_inverse=True)
            values = np.asarray(part[kept], np.float32)
            if layout.is_tokens:
                values = values.reshape(-1, height * width, channels)
                values = values.transpose(0, 2, 1)
            maps.append(values.reshape(-1, channels, height, width)[back])
        joined = maps[0] if len(maps) == 1 else np.concatenate(maps, axis=1)
        return np.ascontiguousarray(joined)

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
        rows = np.atleast_1d(np.arange(len(self))[rows])
        found = np.empty((len(rows), *self.shape[1:]), np.float32)
        start = 0
        for member in self.members:
            stop = start + len(member)
            mine = (rows >= start) & (rows < stop)
            if mine.any():
                found[mine] = member[rows[mine] - start]
            start = stop
        return found


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
    """
    n_channels = maps.shape[1]
    n_values = len(maps) * math.prod(maps.shape[2:])
    blocks = [
        np.arange(at, min(at + _PICTURES_AT_ONCE, len(maps)))
        for at in range(0, len(maps), _PICTURES_AT_ONCE)
    ]
    # Two passes: squares around the mean lose nothing.
    mean = np.zeros(n_channels)
    for block in blocks:
        mean += maps[block].sum(axis=(0, 2, 3), dtype=np.float64) / n_values
    squares = np.zeros(n_channels)
    for block in blocks:
        off = maps[block] - mean[:, None, None].astype(np.float32)
        squares += np.square(off, out=off).sum(axis=(0, 2, 3), dtype=np.float64)
    spread = np.sqrt(squares / n_values)
    typical = float(np.sqrt((spread**2).mean())) or 1.0
    scale = np.maximum(spread, 1e-3 * typical)
    return mean.astype(np.float32), scale.astype(np.float32)


def map_rows(layer: Layer, layouts: Sequence[MapLayout]) -> MapRows:
    """Return the maps of a layer for all rows of the responses.

    Parameters
    ----------
    layer : Layer
        Stored features.
    layouts : sequence of MapLayout
        One per part.

    Returns
    -------
    MapRows
        As they are stored.
    """
    return MapRows(tuple(layer.parts), tuple(layouts), layer.codes)


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
        return self.source.identity(self.layer, np.arange(0))

    def rows(self) -> MapRows:
        """Compute or read the maps of all rows.

        Returns
        -------
        MapRows
            Read from disk when they are asked for.
        """
        layer = self.source.load(self.layer, np.arange(0))
        return map_rows(layer, self.layouts)

    def describe(self) -> dict[str, Any]:
        """Tell how the maps of other pictures are computed.

        Returns
        -------
        dict
            JSON values.
        """
        layer = self.source.load(self.layer, np.arange(0))
        layouts = [vars(layout) for layout in self.layouts]
        return {**self.source.describe(layer), "layouts": plain(layouts)}


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
