"""Receptive fields of units: whole feature maps, their choice, and the search."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neurovis.adapters.feature_layers import Reading
from neurovis.core.checks import check_between, check_whole
from neurovis.fitting.fwrf import ALPHAS, FwRF, candidate_grid
from neurovis.fitting.fwrf_maps import MapSpace, MapView, most_varying_maps
from tasks.encoding_layers import Layer, RowView

METHOD = "fwrf"
LAYERS = "all layers"
"""What `layer` is in tables where layers are fitted together."""

FIELD_COLUMNS = ("rf_x", "rf_y", "rf_sigma")
"""Columns of the table of units."""

HOLDOUT_ROWS = 500
"""Published number of held-out rows."""

MapShape = tuple[int, int, int]
# Memory for pooled features: fixed, so that rounding does not depend on what is free.
_POOLED_BYTES = 2**31
_MOST_POOLS = 32
_MOST_TARGETS = 8192
_COARSE_PX = 8
_SIGMAS = (0.01, 0.4)
_HOLDOUT = re.compile(r"holdout(?:-([1-9]\d*))?")


@dataclass(frozen=True)
class FieldGrid:
    """Which pools are tried, and with which maps.

    Parameters
    ----------
    n_maps : int, default 512
        Most maps of each layer.
    n_sigmas : int, default 8
        Sizes of pools.
    smallest_sigma : float, default 0.04
        Smallest of them, in sides of the picture; the largest is 0.4.

    Raises
    ------
    TypeError, ValueError
        If a number is out of range.
    """

    n_maps: int = 512
    n_sigmas: int = 8
    smallest_sigma: float = 0.04

    def __post_init__(self) -> None:
        check_whole("n_maps", self.n_maps, low=1)
        check_whole("n_sigmas", self.n_sigmas, low=1)
        # Below this there are more than 6000 pools.
        low, high = _SIGMAS
        check_between("smallest_sigma", self.smallest_sigma, low=low, high=high)

    def candidates(self) -> NDArray[np.float64]:
        """Return the pools.

        Returns
        -------
        ndarray of float64, shape (n_candidates, 3)
            As `neurovis.fitting.fwrf_pools.candidate_grid`.
        """
        return candidate_grid(self.n_sigmas, self.smallest_sigma)


def holdout_rows(cv: Any) -> int | None:
    """Return how many rows at the end are held out, None for folds.

    Parameters
    ----------
    cv : object
        "holdout" (500 rows, as published) or "holdout-N".

    Returns
    -------
    int or None
        Rows.

    Examples
    --------
    >>> holdout_rows("holdout"), holdout_rows("holdout-20"), holdout_rows(5)
    (500, 20, None)
    """
    found = (
        re.fullmatch(r"holdout(?:-([1-9]\d*))?", cv) if isinstance(cv, str) else None
    )
    if found is None:
        return None
    return HOLDOUT_ROWS if found[1] is None else int(found[1])


def map_shapes(readings: Sequence[Reading], title: str) -> dict[str, MapShape]:
    """Return the shapes of layers that were asked for as whole maps.

    Parameters
    ----------
    readings : sequence of Reading
        Requests as a network understands them.
    title : str
        Who asks, for messages.

    Returns
    -------
    dict of str to tuple of int
        By request: maps, height and width; a vector counts as maps of one pixel.

    Raises
    ------
    ValueError
        If a layer is pooled over the picture, is no map, is not square, or none has
        places.
    """
    shapes: dict[str, MapShape] = {}
    for reading in readings:
        kind, shape = reading.activation.kind, reading.shape
        if kind == "vector":
            shapes[reading.text] = (shape[0], 1, 1)
            continue
        path = reading.text.partition(":")[0]
        if kind != "map":
            raise ValueError(
                f"method='fwrf' pools feature maps, and {reading.text!r} of {title} is "
                f"none: it gives {'tokens' if kind == 'tokens' else 'values'} of shape "
                f"{reading.activation.shape}. Ask for a layer of maps, as 'PATH:flat'."
            )
        if len(shape) != 3:
            raise ValueError(
                f"method='fwrf' needs whole maps, and {reading.text!r} of {title} is "
                f"pooled over the picture already: ask for '{path}:flat'."
            )
        check_channel_order(reading, title)
        if shape[1] != shape[2]:
            raise ValueError(
                f"method='fwrf' needs square maps, and {reading.text!r} of {title} has "
                f"{shape[1]} x {shape[2]} positions."
            )
        shapes[reading.text] = (shape[0], shape[1], shape[2])
    if max(height for _, height, _ in shapes.values()) == 1:
        raise ValueError(
            f"method='fwrf' needs feature maps, and {title} names only layers without "
            f"places ({', '.join(shapes)}): name a layer of maps too, as 'PATH:flat'."
        )
    return shapes


def check_channel_order(reading: Reading, title: str) -> None:
    """Raise if maps do not tell which of their axes holds the channels.

    Parameters
    ----------
    reading : Reading
        Request for maps, as a network understands it.
    title : str
        Who asks, for the message.

    Raises
    ------
    ValueError
        If the order of the axes must be asked for.
    """
    if reading.activation.grid is None:
        path = reading.text.partition(":")[0]
        raise ValueError(
            f"{reading.text!r} of {title} has the shape {reading.shape}, which does "
            "not tell which axis holds the maps: ask for "
            f"'{path}:flat:channels-first' or '{path}:flat:channels-last'."
        )


def coarse_note(shapes: Mapping[str, MapShape], title: str) -> tuple[str, ...]:
    """Return what a reader must know of maps with few positions.

    Parameters
    ----------
    shapes : mapping of str to tuple of int
        From `map_shapes`.
    title : str
        Whose maps.

    Returns
    -------
    tuple of str
        Nothing, or one sentence.

    Examples
    --------
    >>> coarse_note({"a:grid3": (64, 3, 3)}, "net")[0][:40]
    'net: the finest maps have 3 x 3 position'
    """
    side = max(height for _, height, _ in shapes.values())
    if side >= _COARSE_PX:
        return ()
    return (
        f"{title}: the finest maps have {side} x {side} positions, which tells little "
        "of receptive fields.",
    )


@dataclass(frozen=True, eq=False)
class FeatureMaps:
    """The maps of several layers that a model looks at.

    Parameters
    ----------
    spaces : tuple of MapSpace
        Which maps.
    layers : tuple of Layer
        Their features.
    """

    spaces: tuple[MapSpace, ...]
    layers: tuple[Layer, ...]

    @property
    def n_features(self) -> int:
        """Number of maps."""
        return sum(space.n_maps for space in self.spaces)

    def rows(self, which: NDArray[np.integer[Any]]) -> list[MapView]:
        """Return some rows, as the estimator takes them.

        Parameters
        ----------
        which : ndarray of int, shape (n,)
            0-based rows of the responses.

        Returns
        -------
        list of MapView
            One per part of each layer.
        """
        pairs = zip(self.spaces, self.layers, strict=True)
        return [view for s, layer in pairs for view in s.views(layer.rows(which))]


def choose_maps(
    names: Sequence[str],
    layers: Sequence[Layer],
    shapes: Sequence[tuple[MapShape, ...]],
    train: NDArray[np.integer[Any]],
    n_maps: int,
) -> FeatureMaps:
    """Choose the maps of each layer that vary most over training pictures.

    Parameters
    ----------
    names : sequence of str
        Names of the feature spaces.
    layers : sequence of Layer
        Their features.
    shapes : sequence of tuple
        Shapes of their parts.
    train : ndarray of int
        Training rows; each of their pictures counts once.
    n_maps : int
        Most maps of each part.

    Returns
    -------
    FeatureMaps
        The maps.
    """
    spaces = []
    for name, layer, parts in zip(names, layers, shapes, strict=True):
        seen = np.unique(layer.codes[train])
        kept = [
            most_varying_maps(
                MapView(RowView(part, seen), shape, np.arange(shape[0])), n_maps
            )
            for part, shape in zip(layer.parts, parts, strict=True)
        ]
        spaces.append(MapSpace(name, parts, tuple(kept)))
    return FeatureMaps(tuple(spaces), tuple(layers))


def fit_fields(
    maps: FeatureMaps,
    betas: Any,
    groups: NDArray[Any],
    train: NDArray[np.int64],
    *,
    alphas: Sequence[float],
    cv: Any,
    grid: FieldGrid,
    folder: str | Path | None = None,
    device: str = "cpu",
) -> FwRF:
    """Search for the receptive field of each unit.

    Parameters
    ----------
    maps : FeatureMaps
        What units look at.
    betas : ndarray, shape (n_rows, n_units)
        Responses.
    groups : ndarray, shape (n_train,)
        Stimulus of each training row.
    train : ndarray of int64, shape (n_train,)
        Training rows.
    alphas : sequence of float
        Penalties.
    cv : int or str
        A number of folds of stimuli, the constant outside of the penalty and weights
        fitted to all rows; or "holdout" with the constant penalised and the weights
        those of the other rows, as published.
    grid : FieldGrid
        Pools.
    folder : str or Path, optional
        Where a search that was killed is found again.
    device : str
        Where to compute.

    Returns
    -------
    FwRF
        Fitted.
    """
    n_held = holdout_rows(cv)
    row_bytes = 4 * (maps.n_features + 1) * len(train)
    pools = int(np.clip(_POOLED_BYTES // row_bytes, 1, _MOST_POOLS))
    estimator = FwRF(
        grid.candidates(),
        alphas,
        cv=cv if n_held is None else "holdout",
        holdout=n_held or HOLDOUT_ROWS,
        bias="free" if n_held is None else "penalized",
        n_candidates_batch=pools,
        n_targets_batch=_MOST_TARGETS,
        folder=folder,
        nan="omit",
        device=device,
    )
    return estimator.fit(maps.rows(train), RowView(betas, train), groups)


def default_field_alphas(cv: Any) -> tuple[float, ...] | None:
    """Return the published penalties where the published hold-out is asked for.

    Parameters
    ----------
    cv : int or str
        As `fit_fields`.

    Returns
    -------
    tuple of float or None
        None for folds.

    Examples
    --------
    >>> default_field_alphas("holdout")[0], default_field_alphas(5)
    (1000.0, None)
    """
    return None if holdout_rows(cv) is None else ALPHAS


def field_choice(
    estimator: FwRF, variance: NDArray[np.float64], n_train: int
) -> dict[str, NDArray[np.float64]]:
    """Return what was chosen for each unit, and its score on held-out training rows.

    Parameters
    ----------
    estimator : FwRF
        Fitted.
    variance : ndarray of float64, shape (n_units,)
        Variance of the responses over training rows; NaN where it is 0.
    n_train : int
        Training rows.

    Returns
    -------
    dict of str to ndarray of float64, shape (n_units,)
        Columns of the table of units.
    """
    chosen = estimator.alphas_
    n_held = estimator.holdout if estimator.cv == "holdout" else n_train
    ends = {"at_smallest": min(estimator.alphas), "at_largest": max(estimator.alphas)}
    found = {
        "alpha": chosen,
        "cv_score": 1 - estimator.losses_ / (n_held * variance),
        **{k: np.where(np.isnan(chosen), np.nan, chosen == v) for k, v in ends.items()},
    }
    return found | dict(zip(FIELD_COLUMNS, estimator.pools_.T, strict=True))
