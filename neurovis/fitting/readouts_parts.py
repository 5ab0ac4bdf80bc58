"""What readouts are made of: checks, initial values, and reading points of maps."""

from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from neurovis.core.checks import check_array, check_between, check_whole
from neurovis.fitting.steps import seeded

# Numbers between maps and responses that are held at once.
_NUMBERS_AT_ONCE = 2**24


def by_units(
    read: Callable[[slice], Tensor], n_units: int, numbers_per_unit: int
) -> Tensor:
    """Call `read` for as many units at once as memory allows, and join the results.

    Parameters
    ----------
    read : callable
        Takes a slice of units and returns (n_images, n_units_of_slice).
    n_units : int
        Number of units.
    numbers_per_unit : int
        Numbers that `read` holds for each.

    Returns
    -------
    Tensor, shape (n_images, n_units)
        In one piece; with gradients, several pieces are computed again in the backward
        pass.

    Examples
    --------
    >>> by_units(lambda at: torch.arange(4)[None, at], 4, 2**23).tolist()
    [[0, 1, 2, 3]]
    """
    size = max(1, _NUMBERS_AT_ONCE // numbers_per_unit)
    if size >= n_units:
        return read(slice(0, n_units))
    parts = []
    for start in range(0, n_units, size):
        at = slice(start, min(n_units, start + size))
        if torch.is_grad_enabled():
            # What lies between is computed again in the backward pass, not kept.
            part = checkpoint(read, at, use_reentrant=False, preserve_rng_state=False)
        else:
            part = read(at)
        parts.append(part)
    return torch.cat(parts, 1)


def read_points(
    table: Tensor, points: Tensor, height: int, width: int, features: Tensor
) -> Tensor:
    """Interpolate between pixels, and weigh channels.

    Parameters
    ----------
    table : Tensor, shape (n_images H W, n_channels)
        One row per pixel of each picture.
    points : Tensor, shape (n_images, n_units, 2)
        x and y within [-1, 1], from centre to centre of the outer pixels.
    height, width : int
        Size of the maps.
    features : Tensor, shape (n_units, n_channels)
        Weights of channels.

    Returns
    -------
    Tensor, shape (n_images, n_units)
        Weighted sums; differentiable in `table`, `points` and `features`.

    Examples
    --------
    >>> table, point = torch.tensor([[0.0], [4.0]]), torch.tensor([[[-0.5, 0.0]]])
    >>> read_points(table, point, 1, 2, torch.ones(1, 1)).tolist()
    [[1.0]]
    """
    n_images, n_units, _ = points.shape
    last = points.new_tensor([width - 1, height - 1])
    place = (points + 1) / 2 * last
    # The upper left of four pixels, and how far beyond its centre; the last point
    # belongs to the last four.
    first = torch.minimum(place.detach().floor(), (last - 1).clamp(min=0))
    beyond_x, beyond_y = (place - first).unbind(-1)
    column, row = first.long().unbind(-1)
    picture = torch.arange(n_images, device=table.device)[:, None] * (height * width)
    corner = picture + row * width + column
    right, below = int(width > 1), width * int(height > 1)
    rows = [corner, corner + right, corner + below, corner + below + right]
    shares = [
        (1 - beyond_y) * (1 - beyond_x),
        (1 - beyond_y) * beyond_x,
        beyond_y * (1 - beyond_x),
        beyond_y * beyond_x,
    ]
    values = functional.embedding_bag(
        torch.stack(rows, -1).reshape(-1, 4),
        table,
        per_sample_weights=torch.stack(shares, -1).reshape(-1, 4),
        mode="sum",
    )
    return (values.reshape(n_images, n_units, -1) * features).sum(-1)


def check_positive(name: str, value: float, high: float | None = None) -> None:
    """Raise unless a number is above 0 (and at most `high`).

    Parameters
    ----------
    name : str
        Argument name for the message.
    value : float
        What came.
    high : float, optional
        Largest value.

    Raises
    ------
    TypeError, ValueError
        If it is not.

    Examples
    --------
    >>> check_positive("init_sigma", 0.5)
    """
    if check_between(name, value, low=0, high=high) == 0:
        raise ValueError(f"`{name}` must be above 0; got {value!r}.")


def check_sizes(
    in_shape: Sequence[int], n_units: int
) -> tuple[tuple[int, int, int], int]:
    """Return the shape of maps and the number of units.

    Parameters
    ----------
    in_shape : sequence of int
        Channels, height and width.
    n_units : int
        Number of units.

    Returns
    -------
    tuple of int
        Channels, height and width, each >= 1.
    int
        Number of units, >= 1.

    Raises
    ------
    TypeError, ValueError
        If a number is not whole or below 1.

    Examples
    --------
    >>> check_sizes([3, 8, 8], 5)
    ((3, 8, 8), 5)
    """
    shape = tuple(in_shape)
    if len(shape) != 3:
        raise ValueError(
            f"`in_shape` must be (channels, height, width); got {in_shape!r}."
        )
    channels, height, width = (check_whole("in_shape", n, low=1) for n in shape)
    return (channels, height, width), check_whole("n_units", n_units, low=1)


def check_shape(maps: Tensor, in_shape: tuple[int, int, int]) -> None:
    """Raise unless maps have the shape that the readout was made for.

    Parameters
    ----------
    maps : Tensor
        Feature maps.
    in_shape : tuple of int
        Channels, height and width.

    Raises
    ------
    ValueError
        If they differ.

    Examples
    --------
    >>> check_shape(torch.zeros(1, 3, 8, 8), (3, 8, 8))
    """
    if maps.ndim != 4 or tuple(maps.shape[1:]) != in_shape:
        raise ValueError(
            f"`maps` must have shape (n_images, {', '.join(map(str, in_shape))}), as "
            f"`in_shape` said; got {tuple(maps.shape)}."
        )


def make_bias(
    has_bias: bool, mean_response: ArrayLike | None, n_units: int
) -> nn.Parameter | None:
    """Return the constants of units.

    Parameters
    ----------
    has_bias : bool
        Whether there are any.
    mean_response : array-like, shape (n_units,), optional
        Their start; 0 by default.
    n_units : int
        Number of units.

    Returns
    -------
    Parameter, shape (n_units,), or None
        The constants.

    Raises
    ------
    ValueError
        If a start is given for no constants, or has another shape.

    Examples
    --------
    >>> make_bias(False, None, 5) is None
    True
    """
    if mean_response is None:
        return nn.Parameter(torch.zeros(n_units)) if has_bias else None
    if not has_bias:
        raise ValueError(
            "`mean_response` is the start of the constants, and has_bias=False has "
            "none: give one of the two."
        )
    mean = check_array("mean_response", mean_response, shape=(n_units,), finite=True)
    return nn.Parameter(torch.tensor(mean, dtype=torch.float32))


def centred_coordinates(coordinates: ArrayLike, n_units: int) -> Tensor:
    """Centre coordinates and divide by their largest absolute value.

    Parameters
    ----------
    coordinates : array-like, shape (n_units, n_axes)
        Places of units.
    n_units : int
        Number of units.

    Returns
    -------
    Tensor, shape (n_units, n_axes)
        Within [-1, 1].

    Raises
    ------
    ValueError
        If the shape differs, a value is not finite, or all units are at one place.

    Examples
    --------
    >>> centred_coordinates([[0.0], [4.0]], 2).tolist()
    [[-1.0], [1.0]]
    """
    shape = (n_units, None)
    array = check_array("coordinates", coordinates, shape=shape, finite=True)
    places = torch.tensor(array, dtype=torch.float64)
    places = places - places.mean(0)
    largest = float(places.abs().max()) if places.numel() else 0.0
    if largest == 0:
        raise ValueError(
            "`coordinates` are the same for all units, and say nothing about mu: leave "
            "them out."
        )
    return (places / largest).float()


def make_predictor(
    n_axes: int, hidden: Sequence[int], has_tanh: bool, seed: int
) -> nn.Sequential:
    """Return a network from coordinates to mean locations.

    Parameters
    ----------
    n_axes : int
        Number of coordinates.
    hidden : sequence of int
        Widths of hidden layers, with ELU.
    has_tanh : bool
        Whether tanh comes last.
    seed : int
        Seed of the initial weights.

    Returns
    -------
    Sequential
        From (n_units, n_axes) to (n_units, 2).

    Examples
    --------
    >>> len(make_predictor(3, (20,), True, 0))
    4
    """
    widths = [n_axes, *(check_whole("hidden", n, low=1) for n in hidden), 2]
    with seeded(torch.device("cpu"), seed, "gaussian readout predictor"):
        layers: list[nn.Module] = []
        for before, after in pairwise(widths):
            layers += [nn.Linear(before, after), nn.ELU()]
    return nn.Sequential(*layers[:-1], *([nn.Tanh()] if has_tanh else []))
